"""Measure memory and time of feature extraction at several lengths of movie: memory must not grow.

    python benchmarks/features.py                              64x80, shipped network, 60 s and 600 s
    python benchmarks/features.py --lengths 60 600 1800

Every length runs as a process of its own; the peak is that of its resident memory. See README.md here.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from itertools import cycle, islice
from pathlib import Path

import numpy as np

from brainpred.movies.synthesis import FPS, synthesise_movie
from brainpred.movies.video import write_video
from brainpred.provenance import provenance


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lengths", type=float, nargs="+", default=[60.0, 600.0], help="seconds of movie")
    parser.add_argument("--weights", default="small")
    parser.add_argument("--size", default="64x80")
    options = parser.parse_args()
    height, width = (int(side) for side in options.size.split("x"))
    frames = synthesise_movie(20, np.random.default_rng(0), size=(height, width))
    print(f"commit {provenance()['commit']}, weights {options.weights}, {options.size}, {FPS:g} frames/s")
    print("| movie (s) | frames/s | peak memory (MB) | file (MB) |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for length_s in options.lengths:
            movie, out = Path(folder) / f"{length_s:g}.mp4", Path(folder) / f"{length_s:g}.h5"
            n_frames = round(length_s * FPS)
            write_video(movie, islice(cycle(frames), n_frames), FPS)
            command = [sys.executable, "-m", "brainpred", "features", "--movie", movie, "--out", out]
            command += ["--weights", options.weights, "--size", options.size, "--quiet"]
            begin = time.perf_counter()
            process = subprocess.Popen(
                command, env={**os.environ, "BRAINPRED_CACHE": folder}, stdout=subprocess.DEVNULL
            )
            _, status, usage = os.wait4(process.pid, 0)
            seconds = time.perf_counter() - begin
            if status:
                raise SystemExit(f"brainpred features failed with status {status}")
            peak_mb, file_mb = usage.ru_maxrss / 1024, out.stat().st_size / 2**20
            print(f"| {length_s:g} | {n_frames / seconds:.1f} | {peak_mb:.0f} | {file_mb:.0f} |", flush=True)


if __name__ == "__main__":
    main()

"""Memory and speed of reconstruction, with all controls, for test clips of several lengths.

python benchmarks/reconstruction.py --lengths 40 160 --layers R0 --device cpu
"""

import argparse
import subprocess
import sys
import tempfile
import time
from itertools import cycle, islice
from pathlib import Path

import numpy as np

from brainpred.movies.synthesis import FPS, synthesise_movie
from brainpred.movies.video import write_video

MEASURE = """
import resource, sys
from brainpred.cli.main import main
code = main(sys.argv[1:])
print("peak", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000)
raise SystemExit(code)
"""


def brainpred(*arguments):
    """Run a command in a process of its own; give seconds and peak memory in MB."""
    began = time.perf_counter()
    command = [sys.executable, "-c", MEASURE, *map(str, arguments), "--quiet"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return time.perf_counter() - began, float(done.stdout.rsplit("peak ", 1)[1])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lengths", nargs="+", type=int, default=[40, 160], help="seconds of the test clip")
    parser.add_argument("--layers", nargs="+", default=["R0"])
    parser.add_argument("--device", default="auto")
    parser.add_argument(
        "--weights", default="small", help="PredNet that the brain computes with, and that is swapped into"
    )
    options = parser.parse_args()
    frames = synthesise_movie(20, np.random.default_rng(0))
    print("| clip (s) | frames | seconds | peak memory (MB) | frames (HDF5, MB) |\n|---|---|---|---|---|")
    for length in options.lengths:
        with tempfile.TemporaryDirectory() as folder:
            where = ("--subject", "sim01", "--data", f"{folder}/data")
            Path(folder, "data").mkdir()
            movie = Path(folder) / "movie.mp4"
            write_video(
                movie, islice(cycle(frames), round(3 * length * FPS)), FPS
            )  # two training clips and the test clip
            brainpred("data", "simulate", *where, "--movie", movie, "--run-s", length, "--runs", 2, "--repeats", 2)
            work = (*where, "--out", f"{folder}/out", "--device", options.device, "--layers", *options.layers)
            brainpred("decode", *work, "--weights", options.weights)
            seconds, peak = brainpred("reconstruct", *work)
            size = sum(path.stat().st_size for path in Path(folder, "out").glob("reconstruction_*.h5")) / 1e6
            print(f"| {length} | {FPS * (length - 3):.0f} | {seconds:.0f} | {peak:.0f} | {size:.0f} |", flush=True)


if __name__ == "__main__":
    main()

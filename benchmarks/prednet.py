"""Measure PredNet's speed against a plain implementation, and what bfloat16 costs.

    python benchmarks/prednet.py                       both, on every core
    python benchmarks/prednet.py --threads 1 --quick   a first impression
    python benchmarks/prednet.py --decode              also: what bfloat16 features change in sim01's scores

Everything compared runs in turn, again and again, in one process; ratios are of the medians. See README.md here.
"""

import argparse
import contextlib
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import torch
from plain_prednet import PlainPredNet

from brainpred.models.prednet import PredNet
from brainpred.movies.synthesis import synthesise_movie
from brainpred.provenance import provenance

SIZE = (128, 160)
LAYER_1 = (240, 192, 64, 80)  # input and output channels, height, width of layer 1's gates


def measure(jobs: dict[str, Callable[[], object]], repeats: int, device: torch.device) -> dict[str, float]:
    """Run every job once to warm up, then all in turn; give the median seconds of each."""
    times: dict[str, list[float]] = {name: [] for name in jobs}
    for turn in range(repeats + 1):
        for name, job in jobs.items():
            begin = time.perf_counter()
            job()
            if device.type == "cuda":
                torch.cuda.synchronize()
            if turn:
                times[name].append(time.perf_counter() - begin)
    return {name: statistics.median(values) for name, values in times.items()}


def gigaflops(network: PredNet, height: int, width: int) -> tuple[float, float]:
    """Count the arithmetic of one frame, two operations a weight and place: as published, and as brainpred does it."""
    published = saved = 0.0
    for modules in (network.gates, network.predict, network.update):
        for layer, convolution in enumerate(modules):
            published += 2 * convolution.weight.numel() * (height >> layer) * (width >> layer)
    for layer, (gates, above) in enumerate(zip(network.gates, network.channels[1:], strict=False)):
        # The part from above takes 4 products in the place of 9.
        saved += 2 * 5 * above * gates.out_channels * (height >> layer) * (width >> layer)
    return published / 1e9, (published - saved) / 1e9


def autocast(device: torch.device, precision: str) -> contextlib.AbstractContextManager:
    """Compute in bfloat16 where it is safe, or not."""
    return torch.autocast(device.type, torch.bfloat16) if precision == "bfloat16" else contextlib.nullcontext()


def large_convolution(device: torch.device, precision: torch.dtype, batch: int) -> Callable[[], object]:
    """Prepare one large convolution of layer 1's shape, the machine's practical peak."""
    n_in, n_out, height, width = LAYER_1
    convolution = torch.nn.Conv2d(n_in, n_out, 3, padding=1).to(device, precision)
    convolution = convolution.to(memory_format=torch.channels_last)
    frames = torch.rand(batch, n_in, height, width, device=device).to(precision)
    frames = frames.contiguous(memory_format=torch.channels_last)

    def run() -> None:
        with torch.inference_mode():
            for _ in range(5):
                convolution(frames)

    return run


def forward(network: PredNet, device: torch.device, batches: list[int], n_frames: int, repeats: int) -> None:
    """Print frames a second."""
    plain = PlainPredNet(network).to(device).eval()
    own = {name: PredNet(network.channels) for name in ("float32", "bfloat16")}
    for name, copy in own.items():
        copy.load_state_dict(network.state_dict())
        copy.to(device, getattr(torch, name)).to(memory_format=torch.channels_last).eval()
    units = [f"R{layer}" for layer in range(network.n_layers)]
    published, done = gigaflops(network, *SIZE)
    print(
        f"\nForward, {published:.1f} GFLOP a frame as published, {done:.1f} as brainpred computes it. "
        "bfloat16: the baseline by autocast, brainpred with bfloat16 weights."
    )
    print(
        "| batch | implementation | frames/s | times plain float32 | part of the convolution peak: published, done |\n"
        "|---|---|---|---|---|"
    )
    for batch in batches:
        movies = torch.rand(batch, n_frames, 3, *SIZE, device=device)
        jobs: dict[str, Callable[[], object]] = {}
        for precision in ("float32", "bfloat16"):

            def run_plain(precision: str = precision, movies: torch.Tensor = movies) -> None:
                with torch.inference_mode(), autocast(device, precision):
                    plain(movies, units)

            def run_own(precision: str = precision, movies: torch.Tensor = movies) -> None:
                with torch.inference_mode():
                    own[precision].run(movies, units)

            jobs |= {f"plain {precision}": run_plain, f"brainpred {precision}": run_own}
        jobs |= {name: large_convolution(device, getattr(torch, name), batch) for name in ("float32", "bfloat16")}
        seconds = measure(jobs, repeats, device)
        n_in, n_out, height, width = LAYER_1
        arithmetic = 5 * 2 * n_in * n_out * 9 * height * width * batch / 1e9
        peaks = {name: arithmetic / seconds.pop(name) for name in ("float32", "bfloat16")}
        for name, value in seconds.items():
            speed, peak = batch * n_frames / value, peaks[name.split()[1]]
            parts = f"{speed * published / peak:.2f}" + (f", {speed * done / peak:.2f}" if "brainpred" in name else "")
            print(f"| {batch} | {name} | {speed:.1f} | {seconds['plain float32'] / value:.2f} | {parts} |", flush=True)
        print(f"| {batch} | convolution peak | {peaks['float32']:.0f}, {peaks['bfloat16']:.0f} GFLOP/s | | |")


def training(network: PredNet, device: torch.device, batch: int, n_frames: int, repeats: int) -> None:
    """Print training sequences a second: forward, backward and Adam's step."""
    frames = torch.rand(batch, n_frames, 3, *SIZE, device=device)

    def job(model: torch.nn.Module, precision: str, errors: Callable[[], torch.Tensor]) -> Callable[[], object]:
        optimizer = torch.optim.Adam(model.parameters(), 1e-4)

        def step() -> None:
            with autocast(device, precision):
                loss = errors()[:, 1:].mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

        return step

    jobs: dict[str, Callable[[], object]] = {}
    for precision in ("float32", "bfloat16"):
        plain = PlainPredNet(network).to(device)
        own = PredNet(network.channels).to(device).to(memory_format=torch.channels_last)
        jobs[f"plain {precision}"] = job(plain, precision, lambda plain=plain: plain(frames, ["E0"])["E0"])
        jobs[f"brainpred {precision}"] = job(own, precision, lambda own=own: own.run(frames, ["E0"])[0]["E0"])
    seconds = measure(jobs, repeats, device)
    print(f"\nTraining, batches of {batch} sequences of {n_frames} frames, Adam")
    print("| implementation | sequences/s | times plain float32 | times plain of its precision |\n|---|---|---|---|")
    for name, value in seconds.items():
        same = seconds[f"plain {name.split()[1]}"]
        print(f"| {name} | {batch / value:.3f} | {seconds['plain float32'] / value:.2f} | {same / value:.2f} |")


def bfloat16_error(weights: str) -> None:
    """Print what bfloat16 changes in R, on a synthesised movie."""
    network = PredNet.from_pretrained(weights)
    frames = synthesise_movie(20, np.random.default_rng(5), size=(64, 80))
    movie = torch.from_numpy(frames)[None].permute(0, 1, 4, 2, 3).float() / 255
    units = [f"R{layer}" for layer in range(network.n_layers)]
    with torch.inference_mode():
        exact = network.run(movie, units)[0]
        rough = network.to(torch.bfloat16).run(movie, units)[0]
    print(f"\nbfloat16 against float32, PredNet {weights!r}, {len(frames)} frames")
    print("| unit | root mean square difference / standard deviation | correlation |\n|---|---|---|")
    for unit in units:
        error = (rough[unit].float() - exact[unit]).square().mean().sqrt() / exact[unit].std()
        r = np.corrcoef(rough[unit].float().ravel(), exact[unit].ravel())[0, 1]
        print(f"| {unit} | {error:.1e} | {r:.6f} |")


def decoded_score(device: str) -> None:
    """Print what bfloat16 features change in the scores of sim01 (ordinary ridge)."""
    from brainpred.features.extract import FeatureConfig, feature_files
    from brainpred.recordings.fetch import cache_folder
    from brainpred.recordings.readers import load_recording
    from brainpred.studies.decode import DecodeConfig, decode_subject

    recording = load_recording("simulated", "sim01")
    clips = {run.stimulus: recording.stimuli[run.stimulus] for run in recording.runs}
    scores = {}
    with tempfile.TemporaryDirectory() as folder:
        for precision in ("float32", "bfloat16"):
            config = FeatureConfig(recording.tr_s, precision=precision)
            files = feature_files(list(clips.values()), cache_folder() / "features", config, device=device)
            by_clip = dict(zip(clips, files, strict=True))
            table = Path(folder) / f"{precision}.h5"
            with h5py.File(table, "w") as out:
                for layer in files[0].shapes:
                    rows = [by_clip[run.stimulus].read(layer)[: run.n_scans] for run in recording.runs]
                    out[layer] = np.concatenate(rows)
            decode = DecodeConfig("sim01", bands="none", n_candidates=1, device=device, features=str(table))
            results = decode_subject(decode, Path(folder) / precision)
            scores[precision] = {result.layer: float(np.nanmean(result.r)) for result in results}
    print("\nMean r of sim01 decoded from features in each precision\n| layer | float32 | bfloat16 |\n|---|---|---|")
    for layer in scores["float32"]:
        print(f"| {layer} | {scores['float32'][layer]:.4f} | {scores['bfloat16'][layer]:.4f} |")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="fewer frames and repeats")
    parser.add_argument("--decode", action="store_true", help="also decode sim01 from features in bfloat16")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.backends.cudnn.allow_tf32 = False  # float32 is to be float32
    device, repeats = torch.device(options.device), 2 if options.quick else options.repeats
    made_with = provenance()
    print(f"{platform.processor() or platform.machine()}, {options.threads} threads, device {device}")
    print(f"torch {torch.__version__}, commit {made_with['commit']}")
    torch.manual_seed(0)
    network = PredNet((3, 48, 96, 192))
    forward(network, device, [1, 4] if device.type == "cpu" else [1, 4, 16], 4, repeats)
    training(network, device, 2 if options.quick else 4, 4 if options.quick else 10, min(repeats, 3))
    bfloat16_error("small")
    if options.decode:
        decoded_score(options.device)


if __name__ == "__main__":
    main()

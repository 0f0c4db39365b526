"""Ways to make better pictures of what was decoded, compared by what the brain adds: one frame a scan, closed loop.

brainpred decode --subject sim01 --out results/a; brainpred decode --subject sim02 --out results/b
python benchmarks/pictures.py results/a results/b

Only the best way is part of brainpred (docs/decisions/0014). The others live here, so that anyone can try them again.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from scipy.ndimage import gaussian_filter1d
from torch.nn import functional

from brainpred.decoding.result import load_result
from brainpred.models.prednet import hard_sigmoid
from brainpred.models.prednet_weights import load_prednet
from brainpred.models.upsampling import add_upsampled
from brainpred.movies.video import read_video
from brainpred.numerics.scores import identification
from brainpred.reconstruction.metrics import frame_scores, scan_similarity
from brainpred.reconstruction.units import restore_variance
from brainpred.recordings.readers import load_recording
from brainpred.storage import read_json

EXCLUDED = 4  # scans
STEPS = 3  # of the network a scan, where it runs as a whole


def middle_frames(movie, size, n_scans, tr_s):
    """Give the first frame after the middle of every scan."""
    frames, times_s = read_video(movie, size)
    return frames[np.minimum(np.searchsorted(times_s, (np.arange(n_scans) + 0.5) * tr_s), len(frames) - 1)]


class Decoded:
    """One subject: the network, what was shown, and what was decoded of each layer."""

    def __init__(self, folder):
        settings = read_json(folder / "decode.json")
        self.network, self.name = load_prednet(settings["features"]["weights"]), settings["subject"]
        self.layers = [load_result(folder / f"decoded_{layer}.h5") for layer in settings["layers"]]
        recording = load_recording(settings["dataset"], settings["subject"])
        clip, self.size = self.layers[0].runs[0], tuple(settings["features"]["frame_size"])
        if (self.layers[0].runs != clip).any():
            raise SystemExit(f"{folder}: only recordings with one test clip are compared.")
        frames = middle_frames(recording.stimuli[clip], self.size, len(self.layers[0].true), recording.tr_s)
        self.shown = torch.from_numpy(frames).permute(0, 3, 1, 2).float() / 255

    def restored(self, layer, power):
        result = self.layers[layer]
        return restore_variance(result.decoded, result.runs, result.mean, result.std, power)

    def pictures(self, r0):
        """Give Â_0 of R_0 (n_scans, n_units)."""
        values = torch.from_numpy(np.clip(r0, -1, 1).astype(np.float32)).reshape(-1, *self.layers[0].shape)
        with torch.inference_mode():
            return torch.relu(self.network.predict[0](values)).clamp(max=1)

    def scores(self, pictures):
        """Give SSIM, pixel r, PSNR, and 2-way and 10-way identification."""
        pairs = zip(self.shown, pictures, strict=True)
        frames = torch.cat([frame_scores(shown, picture[None]) for shown, picture in pairs])
        similarity = scan_similarity(pictures.flatten(1).numpy(), self.shown.flatten(1).numpy())
        ways = [np.nanmean(identification(similarity, EXCLUDED, n_way)) for n_way in (2, 10)]
        return np.array([*frames.nanmean(dim=0).tolist(), *ways])


def joint(subject, weights):
    """Swap all layers at once, each only in part: R + w (R̂ - R), with w a number or one a unit."""
    network, n_scans = subject.network, len(subject.shown)
    decoded = [
        torch.from_numpy(np.clip(subject.restored(number, 0.5), -1, 1)).reshape(n_scans, *result.shape)
        for number, result in enumerate(subject.layers)
    ]
    state, kernels, pictures = network.initial_state(1, *subject.size), network.prepare(), []
    last, cell, error, prediction = state
    with torch.inference_mode():
        for t in np.repeat(np.arange(n_scans), STEPS):
            now = [None] * network.n_layers
            for layer in reversed(range(network.n_layers)):
                beside, above = kernels[layer]
                sums = functional.conv2d(
                    torch.cat([last[layer], error[layer]], 1), beside, network.gates[layer].bias, padding=1
                )
                sums = sums if above is None else add_upsampled(sums, now[layer + 1], above)
                gates, candidate = sums.split((3 * network.channels[layer], network.channels[layer]), dim=1)
                i, f, o = hard_sigmoid(gates).chunk(3, dim=1)
                cell[layer] = f * cell[layer] + i * torch.tanh(candidate)
                own = o * torch.tanh(cell[layer])
                now[layer] = own + weights[layer] * (decoded[layer][t] - own)
            below = prediction
            for layer in range(network.n_layers):
                predicted = torch.relu(network.predict[layer](now[layer]))
                predicted = predicted.clamp(max=1) if layer == 0 else predicted
                prediction = predicted if layer == 0 else prediction
                error[layer] = torch.cat([torch.relu(predicted - below), torch.relu(below - predicted)], 1)
                if layer + 1 < network.n_layers:
                    below = torch.relu(functional.max_pool2d(network.update[layer](error[layer]), 2))
            last = now
            pictures.append(prediction[0])
    return torch.stack(pictures[STEPS - 1 :: STEPS])


def most_likely(subject, layers, prior, smooth, n_iterations=27, chunk=25):
    """Seek the movie whose representations are most likely those decoded, by gradient on its frames."""
    n_scans, network = len(subject.shown), subject.network
    goal = {layer: torch.from_numpy(np.clip(subject.restored(layer, 0.5), -1, 1)) for layer in layers}
    noise = {
        layer: torch.from_numpy(result.std**2 * (1 - np.clip(result.cv_r2, 0, 0.95)) + 1e-4)
        for layer, result in enumerate(subject.layers)
    }
    begin = subject.pictures(subject.restored(0, 0.5)).clamp(0.02, 0.98).clone()
    logits = torch.logit(begin).requires_grad_()
    optimiser = torch.optim.Adam([logits], lr=0.05)
    for _ in range(n_iterations):
        optimiser.zero_grad()
        state, kernels = network.initial_state(1, *subject.size), network.prepare()
        for first in range(0, n_scans, chunk):
            loss = torch.zeros(())
            for t in range(first, min(n_scans, first + chunk)):
                frame = torch.sigmoid(logits[t : t + 1])
                mean = dict.fromkeys(layers, 0)
                for _ in range(2):
                    units, state = network.step(frame, state, None, kernels)
                    mean = {layer: mean[layer] + units[f"R{layer}"].flatten() / 2 for layer in layers}
                    loss = loss + prior * units["E0"].square().mean() / 2
                for layer in layers:
                    loss = loss + ((mean[layer] - goal[layer][t]).square() / noise[layer]).mean()
                loss = loss + smooth * (frame.diff(dim=2).square().mean() + frame.diff(dim=3).square().mean())
            loss.backward()
            detached = ([v.detach() for v in part] if isinstance(part, list) else part.detach() for part in state)
            state = type(state)(*detached)
        optimiser.step()
    return torch.sigmoid(logits.detach())


def ways(subject, likelihood):
    """Yield names of ways and their pictures."""
    r0 = subject.layers[0]
    yield "mean R0", subject.pictures(np.tile(r0.mean, (len(r0.true), 1)))
    yield "true R0", subject.pictures(r0.true)
    yield (
        "shifted by half of the clip, halfway",
        subject.pictures(np.roll(subject.restored(0, 0.5), len(r0.true) // 2, axis=0)),
    )
    yield "R0 as decoded (ridge)", subject.pictures(r0.decoded)
    for name, power in (("a quarter of the way", 0.25), ("halfway", 0.5), ("matched", 1.0)):
        yield f"(e) R0, spread restored {name}", subject.pictures(subject.restored(0, power))
    deviation = r0.decoded - r0.mean
    expected = np.sqrt(np.clip(r0.cv_r2, 0, 1)) * r0.std / np.maximum(deviation.std(axis=0), 1e-6)
    yield "(e) R0, spread as its cross-validated R² predicts", subject.pictures(r0.mean + deviation * expected)
    for width in (0.5, 1.0, 2.0):
        smoothed = gaussian_filter1d(subject.restored(0, 0.5), width, axis=0, mode="nearest")
        yield f"(c) R0 halfway, smoothed over time, sigma {width:g} scans", subject.pictures(smoothed)
    confident = [
        torch.from_numpy(np.sqrt(np.clip(result.cv_r2, 0, 1))).reshape(result.shape) for result in subject.layers
    ]
    yield "(a) all layers, w = 0.75", joint(subject, [0.75] * 4)
    yield "(a) all layers, w = 0.5", joint(subject, [0.5] * 4)
    yield "(a) all layers, w = cross-validated r", joint(subject, confident)
    yield "(a) all layers, w = 2 x cross-validated r", joint(subject, [(2 * w).clamp(max=1) for w in confident])
    yield "(a) R0 with w = 0.75, R1-R3 whole", joint(subject, [0.75, 1, 1, 1])
    for number in (1, 2, 3):
        yield f"R{number} alone, whole", joint(subject, [float(number == layer) for layer in range(4)])
    if likelihood:
        yield "(b) likelihood of R0", most_likely(subject, [0], 0, 0)
        yield "(b) likelihood of R0-R3, prediction errors x 50", most_likely(subject, [0, 1, 2, 3], 50, 0)
        yield "(b) likelihood of R0-R3, smooth frames", most_likely(subject, [0, 1, 2, 3], 0, 20)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path, help="what `brainpred decode` wrote, all layers")
    parser.add_argument("--likelihood", action="store_true", help="also (b), ten minutes more a subject")
    options = parser.parse_args()
    rows = {}
    for folder in options.folders:
        subject = Decoded(folder)
        for name, pictures in ways(subject, options.likelihood):
            rows.setdefault(name, []).append(subject.scores(pictures.float()))
            print(f"{subject.name} {name}: {np.round(rows[name][-1], 3)}", flush=True)
    blind = np.mean(rows["mean R0"], axis=0)
    print(
        f"\nBrain gain, the mean of {len(options.folders)} subjects\n"
        "| way | pixel r | 2-way | 10-way | PSNR (dB) | SSIM |"
    )
    print("|---|---|---|---|---|---|")
    for name, scores in rows.items():
        ssim, r, psnr, two, ten = np.mean(scores, axis=0) - blind
        print(f"| {name} | {r:+.3f} | {two:+.3f} | {ten:+.3f} | {psnr:+.2f} | {ssim:+.3f} |")


if __name__ == "__main__":
    main()

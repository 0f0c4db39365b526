"""Banded ridge against himalaya: time, agreement, regret and held-out scores, baselines in the same run.

python benchmarks/ridge.py B1 B2 B3            a few minutes each
python benchmarks/ridge.py full growth         the whole job, and how time grows
"""

import argparse
import contextlib
import tempfile
import threading
import time
from pathlib import Path

import h5py
import numpy as np
import ridge_data as data
import torch

from brainpred.devices import resolve_device, resolve_precision
from brainpred.numerics.ridge.estimator import BandedRidgeCV
from brainpred.numerics.ridge.folds import leave_run_out
from brainpred.numerics.ridge.kernels import BandKernels, cross_grams
from brainpred.numerics.ridge.predict import Predictor
from brainpred.numerics.ridge.search import SearchSettings, choose_bands, draw_candidates
from brainpred.numerics.ridge.targets import Targets
from brainpred.numerics.scores import pearson_correlation
from brainpred.progress import SILENT, RichReporter

DELAYS = (3, 4, 5, 6)
N_TEST = 300


class Problem:
    """Kernels and targets of one benchmark, in memory."""

    def __init__(self, folder, n_samples, n_targets, n_voxels, *, per_delay, device, layers=("R0",)):
        run_scans = n_samples // 5
        paths = [folder / f"units_{n}_{seed}.h5" for n, seed in ((n_samples, 1), (N_TEST, 2))]
        for path, n_scans, seed, length in ((paths[0], n_samples, 1, run_scans), (paths[1], N_TEST, 2, N_TEST)):
            data.write_units(path, n_scans, layers, seed, run_scans=length)
        X, rois = data.voxels(paths[0], layers, n_voxels, 1, run_scans=run_scans)
        test_X, _ = data.voxels(paths[1], layers, n_voxels, 2, run_scans=N_TEST)
        with h5py.File(paths[0]) as train, h5py.File(paths[1]) as test:
            picked = np.sort(np.random.default_rng(5).choice(train["R0"].shape[0], n_targets, replace=False))
            self.Y = np.ascontiguousarray(train["R0"][:][picked].T)
            self.test_Y = np.ascontiguousarray(test["R0"][:][picked].T)
        self.runs, test_runs = np.arange(n_samples) // run_scans, np.zeros(N_TEST, dtype=int)
        self.kernels, means = BandKernels.of(X, self.runs, rois, DELAYS, per_delay=per_delay, device=device)
        self.cross = BandKernels(
            cross_grams(test_X, X, means, rois, device=device), test_runs, self.runs, DELAYS, per_delay=per_delay,
            scale=self.kernels.scale,
        )  # fmt: skip
        self.folds = leave_run_out(self.runs)
        self.device = device

    def ours(self, alphas, n_candidates, *, search, shortlist, precision):
        """Search and predict; give seconds, the choice and held-out r."""
        targets = Targets(self.Y, self.device, torch.float32)
        began = time.perf_counter()
        settings = SearchSettings(search, tuple(alphas), n_candidates, shortlist, precision, candidate_bytes=6e9)
        choice = choose_bands(
            self.kernels,
            targets,
            [np.arange(targets.n_targets)],
            self.folds,
            settings,
            np.random.default_rng(0),
            SILENT,
        )
        predictor = Predictor(self.kernels, targets, choice, alphas, intercept=True)
        predicted = np.concatenate([block.cpu().numpy() for _, block in predictor.blocks(self.cross)], axis=1)
        seconds = time.perf_counter() - began
        return seconds, choice, held_out(self.test_Y, predicted)

    def himalaya(self, alphas, n_candidates, *, flag):
        """Search and predict with himalaya's torch backend, on the same kernels, candidates and folds."""
        from himalaya.backend import set_backend
        from himalaya.kernel_ridge import solve_multiple_kernel_ridge_random_search
        from himalaya.scoring import r2_score
        from sklearn.model_selection import PredefinedSplit

        backend = set_backend("torch_cuda" if self.device.type == "cuda" else "torch")
        gammas = draw_candidates(self.kernels.n_bands, n_candidates, np.random.default_rng(0))
        kernels, cross = self.kernels.materialise(), self.cross.materialise()
        targets = backend.asarray(self.Y)
        splitter = PredefinedSplit([0, 1])
        splitter.split = lambda *_: iter(self.folds)
        splitter.get_n_splits = lambda *_: len(self.folds)
        before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("medium" if flag else "highest")
        try:
            began = time.perf_counter()
            log_weights, dual, cv_scores, best_alphas, intercept = solve_multiple_kernel_ridge_random_search(
                kernels, targets, n_iter=backend.asarray(gammas.astype(np.float32)),
                alphas=backend.asarray(np.asarray(alphas, dtype=np.float32)), score_func=r2_score, cv=splitter,
                fit_intercept=True, return_weights="dual", return_alphas=True, progress_bar=False,
            )  # fmt: skip
            weights = torch.exp(log_weights)
            predicted = intercept + sum(k @ (dual * w) for k, w in zip(cross, weights, strict=True))
            seconds = time.perf_counter() - began
        finally:
            torch.set_float32_matmul_precision(before)
        shares = weights.cpu().numpy() * best_alphas.cpu().numpy()
        gamma = np.abs(gammas[:, :, None] - shares).sum(axis=1).argmin(axis=0)
        alpha = np.abs(np.log(alphas)[:, None] - np.log(best_alphas.cpu().numpy())).argmin(axis=0)
        r = held_out(self.test_Y, predicted.cpu().numpy())
        return seconds, gamma, alpha, cv_scores.cpu().numpy().max(axis=0), r


def held_out(true, predicted):
    return float(np.nanmean(pearson_correlation(true, predicted)))


def row(name, seconds, baselines, cv, r, choice=None, theirs=None):
    ratios = " | ".join(f"{base / seconds:.2f}" for base in baselines)
    same, regret = "", ""
    if choice is not None and theirs is not None:
        same = f"{np.mean((choice.gamma == theirs[0]) & (choice.alpha == theirs[1])):.4f}"
    if choice is not None:
        regret = f"{choice.audit.mean_regret:.1e}, {choice.audit.p99_regret:.1e}"
    print(f"| {name} | {seconds:.1f} | {ratios} | {same} | {regret} | {cv:.4f} | {r:.4f} |", flush=True)


def compare(name, problem, alphas, n_candidates, fast, baseline=None):
    """Print one table: himalaya twice, exact, compressed, shared.

    himalaya's time is the same for every γ: with ``baseline`` fewer are run, and the time is multiplied; scoring
    everything exactly is left out then.
    """
    n_run = baseline or n_candidates
    print(f"\n{name}\n| what | seconds | himalaya's default ÷ it | flagged ÷ it | same (γ, α) ", end="")
    print("| regret mean, p99 | mean CV R² | test r |")
    print("|---|---|---|---|---|---|---|---|")
    seconds, gamma, alpha, cv, r = problem.himalaya(alphas, n_run, flag=False)
    flagged, _, _, flagged_cv, flagged_r = problem.himalaya(alphas, n_run, flag=True)
    baselines = (seconds * n_candidates / n_run, flagged * n_candidates / n_run)
    note = f", {n_run} γ run, time × {n_candidates}/{n_run}" if baseline else ""
    row("himalaya, torch" + note, baselines[0], baselines, cv.mean(), r)
    row("himalaya, matmul precision medium" + note, baselines[1], baselines, flagged_cv.mean(), flagged_r)
    for what, search, shortlist, precision in (
        ("exact, float32", "per-target", None, torch.float32),
        ("exact, auto precision", "per-target", None, fast),
        ("compressed, best 4, auto precision", "per-target", 4, fast),
        ("shared by gradient, α per target", "shared", 4, fast),
    )[2 if baseline else 0 :]:
        took, choice, r = problem.ours(alphas, n_candidates, search=search, shortlist=shortlist, precision=precision)
        theirs = (gamma, alpha) if search == "per-target" and not baseline else None
        row(what, took, baselines, choice.cv_scores.mean(), r, choice, theirs)


class Turned:
    """Stand for a data set stored target by target, turned around: (n_samples, n_targets)."""

    dtype = np.dtype(np.float32)

    def __init__(self, stored):
        self.stored, self.shape = stored, stored.shape[::-1]

    def __getitem__(self, key):
        rows, columns = key
        return self.stored[columns].T[rows]


class PeakMemory(threading.Thread):
    """Note the most anonymous memory that the process had; mapped files do not count."""

    def __init__(self):
        super().__init__(daemon=True)
        self.peak_gib, self._stop_now = 0.0, threading.Event()

    def run(self):
        while not self._stop_now.wait(0.2):
            lines = Path("/proc/self/status").read_text().splitlines()
            kib = next(float(line.split()[1]) for line in lines if line.startswith("RssAnon"))
            self.peak_gib = max(self.peak_gib, kib / 2**20)

    def stop(self):
        self._stop_now.set()
        self.join()


def full_data(folder, n_samples, n_test, n_voxels):
    """Write units and voxels of the whole job, unless they are there."""
    layers = list(data.LAYERS)
    for name, n_scans, seed, length in (("train", n_samples, 1, 600), ("test", n_test, 2, n_test)):
        data.write_units(folder / f"full_{name}_{n_scans}.h5", n_scans, layers, seed, run_scans=length)
        path = folder / f"full_{name}_{n_scans}_{n_voxels}.npy"
        if not path.exists():
            X, rois = data.voxels(
                folder / f"full_{name}_{n_scans}.h5", layers, n_voxels, seed, run_scans=length, n_rois=6
            )
            np.save(folder / f"rois_{n_voxels}.npy", rois)
            np.save(path, X)


def full(folder, device, n_samples=7200, n_test=540, n_voxels=65_665):
    """Decode all four layers with ROI × delay bands, from and to disk; print time, memory and the lower bound."""
    full_data(folder, n_samples, n_test, n_voxels)
    X = np.load(folder / f"full_train_{n_samples}_{n_voxels}.npy", mmap_mode="r")
    test_X = np.load(folder / f"full_test_{n_test}_{n_voxels}.npy", mmap_mode="r")
    rois, runs = np.load(folder / f"rois_{n_voxels}.npy"), np.arange(n_samples) // 600
    memory = PeakMemory()
    memory.start()
    began = time.perf_counter()
    least, previous, cross = 0.0, None, None
    print("\nFull: n 7200, 65,665 voxels, 6 ROIs × 4 delays, 491,520 units\n| layer | units | seconds | evaluations "
          "and candidates | mean CV R² | test r | regret mean, p99 |\n|---|---|---|---|---|---|---|")  # fmt: skip
    with (
        h5py.File(folder / f"full_train_{n_samples}.h5") as train,
        h5py.File(folder / f"full_test_{n_test}.h5") as test,
        h5py.File(folder / "full_predictions.h5", "w") as predictions,
    ):
        for layer in data.LAYERS:
            layer_began = time.perf_counter()
            ridge = BandedRidgeCV(
                rois, per_delay=True, delays_s=DELAYS, tr_s=1.0, device=device.type, memory_budget="8 GB"
            )
            ridge.fit(X, Turned(train[layer]), runs, like=previous, reporter=RichReporter())
            cross = ridge.prepare(test_X) if cross is None else cross
            written = predictions.create_dataset(layer, test[layer].shape, "float32")
            scores = []
            for columns, block in ridge.predict_blocks(cross):
                written[columns] = block.T.cpu().numpy()
                scores.append(pearson_correlation(test[layer][columns].T, block.cpu().numpy()))
            predictions[f"{layer}_cv_r2"], predictions[f"{layer}_r"] = ridge.cv_scores_, np.concatenate(scores)
            took, previous = time.perf_counter() - layer_began, ridge
            least += ridge.plan_.seconds
            print(
                f"| {layer} | {len(ridge.cv_scores_):,} | {took:.0f} | {len(ridge.alphas)} α | "
                f"{ridge.cv_scores_.mean():.4f} | {np.nanmean(np.concatenate(scores)):.4f} | "
                f"{ridge.audit_.mean_regret:.1e}, {ridge.audit_.p99_regret:.1e} |", flush=True,
            )  # fmt: skip
    memory.stop()
    seconds = time.perf_counter() - began
    print(f"\n{seconds / 60:.1f} minutes in all; lower bound (flops ÷ measured GEMM rate) {least / 60:.1f} minutes; "
          f"peak anonymous memory {memory.peak_gib:.2f} GiB", flush=True)  # fmt: skip


def growth(folder, device):
    """Time the shared search and the scoring against the number of targets and of samples."""
    alphas = np.logspace(-1, 4, 8).tolist()
    print("\nGrowth: 16 ROI × delay bands, shared search, 8 α; seconds\n| n | targets | seconds | exponent |")
    print("|---|---|---|---|")
    times = {}
    for n_samples, n_targets in ((1200, 15_360), (1200, 30_720), (1200, 61_440), (2400, 15_360), (2400, 61_440)):
        problem = Problem(folder, n_samples, n_targets, 20_000, per_delay=True, device=device)
        _, fast = resolve_precision("auto", device)
        times[n_samples, n_targets] = seconds = problem.ours(alphas, 40, search="shared", shortlist=4, precision=fast)[
            0
        ]
        smaller = [
            (n, t) for n, t in times if (n, 2 * t) == (n_samples, n_targets) or (2 * n, t) == (n_samples, n_targets)
        ]
        exponents = ", ".join(
            f"{np.log2(seconds / times[n, t]):.2f} ({'targets' if n == n_samples else 'samples'})" for n, t in smaller
        )
        print(f"| {n_samples} | {n_targets:,} | {seconds:.1f} | {exponents} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("which", nargs="+", choices=["B1", "B2", "B3", "full", "growth"])
    parser.add_argument("--device", default="auto")
    parser.add_argument("--folder", type=Path, help="where data are kept between calls; by default they are not")
    options = parser.parse_args()
    device = resolve_device(options.device)
    _, fast = resolve_precision("auto", device)
    print(f"torch {torch.__version__}, {device}, {torch.get_num_threads()} threads, auto precision {fast}")
    alphas = np.logspace(-1, 4, 8).tolist()
    with contextlib.ExitStack() as stack:
        folder = options.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(parents=True, exist_ok=True)
        if "B1" in options.which:
            problem = Problem(folder, 1200, 61_440, 20_000, per_delay=False, device=device)
            compare("B1: n 1200, 61,440 targets, 4 bands, 11 γ × 8 α", problem, alphas, 11, fast)
        if "B2" in options.which:
            problem = Problem(folder, 2400, 20_000, 20_000, per_delay=False, device=device)
            for n_candidates, baseline in ((6, None), (50, 6)):
                compare(
                    f"B2: n 2400, 20,000 targets, 4 bands, {n_candidates} γ × 8 α",
                    problem,
                    alphas,
                    n_candidates,
                    fast,
                    baseline,
                )
        if "B3" in options.which:
            problem = Problem(folder, 1200, 20_000, 20_000, per_delay=True, device=device)
            compare("B3: n 1200, 20,000 targets, 16 ROI × delay bands, 40 γ × 8 α", problem, alphas, 40, fast)
        if "full" in options.which:
            full(folder, device)
        if "growth" in options.which:
            growth(folder, device)


if __name__ == "__main__":
    main()

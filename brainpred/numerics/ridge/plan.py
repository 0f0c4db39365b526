"""Say what a ridge will take before it begins: passes over the data, memory, time; and refuse what cannot be held."""

import functools
import math
import time
import warnings
from dataclasses import dataclass

import torch

from brainpred.errors import MemoryBudgetError
from brainpred.numerics.ridge.components import ROW_BYTES
from brainpred.numerics.ridge.kernels import CHUNK_BYTES
from brainpred.numerics.ridge.shared import N_EVALUATIONS
from brainpred.numerics.ridge.targets import BLOCK_BYTES

__all__ = ["RidgePlan", "multiplication_rate", "plan_ridge"]

# Matrices (n_samples, n_samples) that the search works with, besides the kernels.
WORKING_MATRICES = 12
# Features (components × delays) that the primal form solves for at most, if the budget allows.
MOST_FEATURES = 4096
PRIMAL_BLOCK_BYTES = 256 * 2**20
GIB = 2**30


@dataclass(frozen=True)
class RidgePlan:
    """Hold what a fit will take.

    Attributes
    ----------
    n_samples, n_features, n_targets : int
        The problem.
    n_bands, n_candidates : int
        Bands; pairs of band weights and α to try (in every cluster, where weights are shared).
    search : str
        How band weights are found.
    form : {"dual", "primal"}
        Kernels between samples, or weights of principal components.
    n_components : int
        Principal components in all groups of voxels together, in primal form; 0 otherwise.
    kernel_bytes : int
        Memory of the kernels, or components, which stay.
    candidate_bytes, block_bytes : int
        Memory that the candidates' matrices, and a block of targets, may take.
    peak_bytes : int
        Most memory at once, besides X and Y.
    passes_over_X, passes_over_Y : int
        How often they are read.
    flops : float
        Floating-point operations of all matrix products.
    seconds : float
        Those at the measured rate of this machine: the least time that the fit can take.
    """

    n_samples: int
    n_features: int
    n_targets: int
    n_bands: int
    n_candidates: int
    search: str
    form: str
    n_components: int
    kernel_bytes: int
    candidate_bytes: int
    block_bytes: int
    peak_bytes: int
    passes_over_X: int  # noqa: N815
    passes_over_Y: int  # noqa: N815
    flops: float
    seconds: float

    def __str__(self) -> str:
        how = "kernels" if self.form == "dual" else f"in primal form, {self.n_components:,} components"
        shape = f"{self.n_samples:,} samples, {self.n_features:,} features, {self.n_targets:,} targets"
        return (
            f"Ridge of {shape}; {self.n_bands} bands, {self.n_candidates} candidates ({self.search}). Memory: {how} "
            f"{_size(self.kernel_bytes)}, at most {_size(self.peak_bytes)}. X is read {_times(self.passes_over_X)}, "
            f"Y {_times(self.passes_over_Y)}. {self.flops:.1e} operations: {_clock(self.seconds)} or more."
        )


def _size(n_bytes: float) -> str:
    return f"{n_bytes / GIB:.2g} GiB" if n_bytes >= GIB / 10 else f"{n_bytes / 2**20:.0f} MiB"


def _enough(n_bytes: float) -> str:
    return f"{math.ceil(100 * n_bytes / GIB) / 100:.2f} GiB"


def _times(number: int) -> str:
    return {0: "no more", 1: "once", 2: "twice"}.get(number, f"{number} times")


def _clock(seconds: float) -> str:
    return "a second" if seconds < 1 else f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


@functools.lru_cache
def multiplication_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Measure how many floating-point operations a second a matrix product does.

    Parameters
    ----------
    device : torch.device
        Where.
    dtype : torch.dtype
        In what.

    Returns
    -------
    float
        Operations a second, the best of three products.
    """
    size = 1024 if device.type == "cpu" else 8192
    matrix = torch.ones((size, size), dtype=dtype, device=device)
    best = float("inf")
    for _ in range(3):
        began = time.perf_counter()
        (matrix @ matrix)[0, 0].item()
        best = min(best, time.perf_counter() - began)
    return float(2 * size**3 / best)


def plan_ridge(
    *,
    n_samples: int,
    n_features: int,
    n_targets: int,
    n_grams: int,
    n_bands: int,
    n_delays: int,
    n_folds: int,
    form: str,
    n_gammas: int,
    n_alphas: int,
    n_clusters: int,
    search: str,
    shortlist: int | None,
    device: torch.device,
    dtype: torch.dtype,
    precision: torch.dtype,
    budget_bytes: float,
    prepared: RidgePlan | None = None,
) -> RidgePlan:
    """Count what a fit takes.

    Parameters
    ----------
    n_samples, n_features, n_targets : int
        Shape of the problem.
    n_grams, n_bands : int
        Kernels that are held, and bands made of them.
    n_delays, n_folds : int
        Delays, and folds of cross-validation.
    form : {"auto", "dual", "primal"}
        Which form was asked for.
    n_gammas, n_alphas, n_clusters : int
        Band weights and alphas to try, and clusters that share band weights.
    search : {"shared", "per-target", "himalaya"}
        How band weights are found.
    shortlist : int or None
        Candidates a target that are scored exactly; None: all.
    device, dtype, precision : torch.device, torch.dtype, torch.dtype
        Where, and in what, kernels are held and targets multiplied.
    budget_bytes : float
        Memory that may be taken.
    prepared : RidgePlan, optional
        Plan of the ridge whose kernels or components are used again.

    Returns
    -------
    RidgePlan
        The plan.

    Raises
    ------
    MemoryBudgetError
        If the budget cannot hold it; the message says what would fit.
    """
    size = torch.finfo(dtype).bits // 8
    square = n_samples**2 * size
    n_pairs = n_gammas * n_alphas
    pair_bytes = n_samples**2 * torch.finfo(precision).bits // 8
    kernel_bytes = n_grams * square
    passing = 8 * BLOCK_BYTES[device.type] + min(3 * CHUNK_BYTES, 3 * n_samples * n_features * size)
    fixed = kernel_bytes + WORKING_MATRICES * square + passing
    if search == "himalaya":
        # Every kernel as it is, targets and dual weights whole.
        fixed = (n_bands + n_grams + 2 * n_alphas) * square + 3 * n_samples * n_targets * size
    needed = fixed + pair_bytes
    form = form if prepared is None else prepared.form
    if form == "primal" or (form == "auto" and needed > budget_bytes and search == "shared"):
        plan = _plan_primal(
            n_samples, n_features, n_targets, n_grams, n_bands, n_alphas, n_clusters, n_delays, n_folds, size=size,
            rate=multiplication_rate(device, dtype), budget_bytes=budget_bytes, prepared=prepared,
        )  # fmt: skip
        if form == "auto":
            warnings.warn(f"Kernels of {_size(needed)} do not fit into the memory budget. {plan}", stacklevel=3)
        return plan
    if needed > budget_bytes:
        per_sample_squared = (n_grams + WORKING_MATRICES) * size + torch.finfo(precision).bits // 8
        fits = int(max(0.0, (budget_bytes - passing) / per_sample_squared) ** 0.5)
        remedy = f"about {fits:,} samples" if fits else "another machine"
        if search != "shared":
            remedy += ", or search='shared', which can do without kernels"
        elif form == "dual":
            remedy += ", or form='auto', which can do without kernels"
        raise MemoryBudgetError(
            f"A ridge of {n_samples:,} samples with {n_grams} kernels ({search}) needs {_size(needed)}, the memory "
            f"budget is {_size(budget_bytes)}. Expected {_enough(needed)} or more, or {remedy}; fewer bands take "
            "less."
        )
    candidate_bytes = int(min(n_pairs * pair_bytes, budget_bytes - fixed))
    n_groups = -(-n_pairs // max(1, candidate_bytes // pair_bytes))
    exact = n_pairs if shortlist is None else min(shortlist, n_pairs)
    cube, targets_once = float(n_samples) ** 3, 2.0 * n_samples**2 * n_targets
    moments = search != "himalaya" and ((search == "shared" and n_bands > 1) or exact < n_pairs)
    n_groups = 1 if search == "himalaya" else n_groups
    searching = n_clusters * 7 * cube * (N_EVALUATIONS if n_bands > 1 else 1) if search == "shared" else 0.0
    factors = 1.3 * n_pairs * cube * n_clusters
    slow = searching + factors + (float(n_samples) ** 2 * n_features if prepared is None else 0.0)
    slow += targets_once / 2 if moments else 0.0
    fast = targets_once * exact
    seconds = slow / multiplication_rate(device, dtype) + fast / multiplication_rate(device, precision)
    return RidgePlan(
        n_samples, n_features, n_targets, n_bands, n_pairs, search, "dual", 0, kernel_bytes, candidate_bytes,
        BLOCK_BYTES[device.type], int(fixed + candidate_bytes), int(prepared is None), int(moments) + int(n_groups),
        slow + fast, seconds,
    )  # fmt: skip


def _plan_primal(
    n_samples: int,
    n_features: int,
    n_targets: int,
    n_grams: int,
    n_bands: int,
    n_alphas: int,
    n_clusters: int,
    n_delays: int,
    n_folds: int,
    *,
    size: int,
    rate: float,
    budget_bytes: float,
    prepared: RidgePlan | None,
) -> RidgePlan:
    """Take as many components as fit, or those that are there."""

    def memory(n_components: int) -> tuple[float, float]:
        wide = n_components * n_delays
        kept = n_samples * (n_components + wide) * size + n_features * n_components / n_grams * size * 3
        # Moments of every fold and their eigenvectors in float64, and what is worked with.
        moments = (5 * n_folds + 20) * wide**2 * 8
        return kept, kept + moments + 4 * ROW_BYTES + 8 * PRIMAL_BLOCK_BYTES

    n_components = min(n_features, max(n_grams, MOST_FEATURES // n_delays))
    n_components = n_components if prepared is None else prepared.n_components
    while prepared is None and memory(n_components)[1] > budget_bytes and n_components > n_grams:
        n_components = max(n_grams, int(0.9 * n_components))
    kept, peak = memory(n_components)
    if peak > budget_bytes and prepared is None:
        raise MemoryBudgetError(
            f"A ridge of {n_samples:,} samples and {n_features:,} features needs {_size(peak)} even with one principal "
            f"component a band, the memory budget is {_size(budget_bytes)}. Expected {_enough(peak)} or more."
        )
    wide = float(n_components * n_delays)
    passes = 0 if prepared else 5 if n_components < n_features else 2
    fits = n_clusters * n_folds * (N_EVALUATIONS * 4 * wide**3 + 20 * wide**3)
    per_target = 4 * n_samples * wide + n_folds * n_alphas * 6 * wide**2
    flops = passes * 4.0 * n_samples * n_features * n_components / n_grams + fits + n_targets * per_target
    return RidgePlan(
        n_samples, n_features, n_targets, n_bands, n_alphas, "shared", "primal", n_components, int(kept), 0,
        PRIMAL_BLOCK_BYTES, int(peak), passes, 1 + int(n_bands > 1), flops, flops / rate,
    )  # fmt: skip

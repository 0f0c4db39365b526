"""Principal components of groups of voxels, and the sums over samples that ridge in primal form needs of them."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from brainpred.errors import DataError
from brainpred.numerics.ridge.delays import delayed_rows
from brainpred.numerics.spread import varies

__all__ = ["Components", "Moments", "TargetMoments", "allot_components", "delayed_design"]

ROW_BYTES = 256 * 2**20
N_ITERATIONS = 3
OVERSAMPLING = 8


def allot_components(sizes: Sequence[int], n_components: int) -> list[int]:
    """Share components among groups of voxels: evenly, but none gets more than it has voxels.

    Parameters
    ----------
    sizes : sequence of int
        Voxels of each group.
    n_components : int
        Components in all.

    Returns
    -------
    list of int
        Components of each group, at least 1.

    Examples
    --------
    >>> allot_components([3, 100, 100], 43)
    [3, 20, 20]
    """
    allotted = [0] * len(sizes)
    waiting, left = list(range(len(sizes))), n_components
    while waiting:
        share = max(1, left // len(waiting))
        small = [group for group in waiting if sizes[group] <= share]
        for group in small or waiting:
            allotted[group] = min(sizes[group], share)
            left -= allotted[group]
        waiting = [group for group in waiting if group not in small] if small else []
    return allotted


class Components:
    """Hold what a ridge in primal form knows of the voxels: components of every group, during all samples.

    Within a band, ridge does not change when its features are rotated, so components need no order, and a group
    with no more voxels than components is exact.

    Attributes
    ----------
    means : ndarray of float64 (n_features,)
        Mean of every voxel over the training samples.
    axes : list of Tensor or None
        Axes (n_voxels_of_the_group, n_components) of every group; None: its voxels themselves.
    scores : list of Tensor (n_samples, n_components)
        Components of the training samples, without delay.
    kept : list of float
        Part of each group's variance that its components hold.
    """

    def __init__(
        self,
        X: Any,
        bands: NDArray[np.int64],
        n_components: int,
        *,
        device: torch.device,
        dtype: torch.dtype,
        rng: np.random.Generator,
        on_rows: Callable[[int], None] = lambda n_rows: None,
    ):
        self._bands, self._device, self._dtype = bands, device, dtype
        self._groups = [np.flatnonzero(bands == number) for number in range(int(bands.max()) + 1)]
        wanted = allot_components([len(group) for group in self._groups], n_components)
        self.means = self._column_means(X)
        self.axes: list[Tensor | None] = []
        for group, q in zip(self._groups, wanted, strict=True):
            start = rng.standard_normal((len(group), min(len(group), q + OVERSAMPLING)))
            self.axes.append(None if q == len(group) else torch.as_tensor(start, dtype=dtype, device=device))
        for _ in range(N_ITERATIONS if any(axis is not None for axis in self.axes) else 0):
            products = [None if axis is None else torch.zeros_like(axis) for axis in self.axes]
            for _, parts in self._row_blocks(X, on_rows):
                for part, axis, product in zip(parts, self.axes, products, strict=True):
                    if axis is not None and product is not None:
                        product.addmm_(part.T, part @ axis)
            self.axes = [None if product is None else torch.linalg.qr(product)[0] for product in products]
        self.axes = [None if axis is None else axis[:, :q] for axis, q in zip(self.axes, wanted, strict=True)]
        n_samples = X.shape[0]
        self.scores = [torch.empty((n_samples, q), dtype=dtype, device=device) for q in wanted]
        power = np.zeros(len(self._groups))
        for rows, parts in self._row_blocks(X, on_rows):
            for number, (part, axis) in enumerate(zip(parts, self.axes, strict=True)):
                self.scores[number][rows] = part if axis is None else part @ axis
                power[number] += float(part.square().sum())
        held = np.array([float(scores.square().sum()) for scores in self.scores])
        self.kept = np.divide(held, power, out=np.ones_like(power), where=power > 0).tolist()

    def project(self, X: Any) -> list[Tensor]:
        """Give the components of other samples, (n_others, n_components) a group."""
        scores = [
            torch.empty((X.shape[0], part.shape[1]), dtype=self._dtype, device=self._device) for part in self.scores
        ]
        for rows, parts in self._row_blocks(X, lambda n_rows: None):
            for number, (part, axis) in enumerate(zip(parts, self.axes, strict=True)):
                scores[number][rows] = part if axis is None else part @ axis
        return scores

    def features(self, group: int, weights: Tensor, voxels: NDArray[np.int64]) -> Tensor:
        """Bring weights of a group's components (n_components, ...) back to some of its voxels."""
        axis = self.axes[group]
        return weights[voxels] if axis is None else axis[voxels] @ weights

    @property
    def groups(self) -> list[NDArray[np.int64]]:
        """Voxels of every group."""
        return self._groups

    def _row_blocks(self, X: Any, on_rows: Callable[[int], None]) -> Iterator[tuple[slice, list[Tensor]]]:
        """Read some samples at a time, centred, group by group."""
        n_samples, n_features = X.shape
        height = max(1, ROW_BYTES // (4 * n_features))
        for first in range(0, n_samples, height):
            rows = slice(first, min(first + height, n_samples))
            values = np.asarray(X[rows, :])
            if not np.isfinite(values).all():
                column = int(np.flatnonzero(~np.isfinite(values).all(axis=0))[0])
                raise DataError(f"X holds NaN or infinity, the first in column {column}. Leave such features out.")
            centred = torch.as_tensor(values - self.means, device=self._device).to(self._dtype)
            yield rows, [centred[:, torch.as_tensor(group, device=self._device)] for group in self._groups]
            on_rows(rows.stop - rows.start)

    def _column_means(self, X: Any) -> NDArray[np.float64]:
        height = max(1, ROW_BYTES // (4 * X.shape[1]))
        sums, extremes = np.zeros(X.shape[1]), []
        for begin in range(0, X.shape[0], height):
            values = np.asarray(X[begin : begin + height, :])
            sums += values.sum(axis=0, dtype=np.float64)
            extremes += [values.min(axis=0), values.max(axis=0)]
        # The mean of a constant is the constant, and not that but for rounding.
        return np.where(varies(np.stack(extremes)), sums / X.shape[0], extremes[0])


def delayed_design(
    scores: Sequence[Tensor], runs: NDArray[Any], delays: Sequence[int], rows: NDArray[np.int64]
) -> Tensor:
    """Give the features of some samples: every group's components at every delay, 0 past the end of a run.

    Parameters
    ----------
    scores : sequence of Tensor (n_samples, n_components)
        Components without delay, one a group.
    runs : ndarray (n_samples,)
        Run of each sample.
    delays : sequence of int
        Delays in samples.
    rows : ndarray of int64 (n_rows,)
        The samples wanted.

    Returns
    -------
    Tensor (n_rows, n_features)
        Groups one after another, within each the delays.
    """
    n_features = len(delays) * sum(part.shape[1] for part in scores)
    design = scores[0].new_zeros((len(rows), n_features))
    place = np.full(len(runs), -1)
    place[rows] = np.arange(len(rows))
    shifts = []
    for delay in delays:
        samples, scans = delayed_rows(runs, delay)
        wanted = place[samples] >= 0
        shifts.append(
            (torch.as_tensor(place[samples[wanted]], device=design.device),
             torch.as_tensor(scans[wanted], device=design.device))
        )  # fmt: skip
    first = 0
    for part in scores:
        for here, there in shifts:
            design[here, first : first + part.shape[1]] = part[there]
            first += part.shape[1]
    return design


class Moments(NamedTuple):
    """Hold sums over some samples: all that ridge needs to know of them.

    Attributes
    ----------
    n : int
        Samples.
    z : Tensor of float64 (n_features,)
        Sums of the features.
    zz : Tensor of float64 (n_features, n_features)
        Sums of their products.
    """

    n: int
    z: Tensor
    zz: Tensor

    def less(self, other: "Moments") -> "Moments":
        """Give the sums over the samples that are not among others."""
        return Moments(self.n - other.n, self.z - other.z, self.zz - other.zz)

    def about(self, mean: Tensor) -> Tensor:
        """Give sums of products of features less a mean, (n_features, n_features)."""
        cross = torch.outer(self.z, mean)
        return self.zz - cross - cross.T + self.n * torch.outer(mean, mean)

    @classmethod
    def of(cls, design: Tensor) -> "Moments":
        """Sum over the rows of a design, some at a time so that float32 loses nothing."""
        zz = torch.zeros((design.shape[1],) * 2, dtype=torch.float64, device=design.device)
        for part in design.split(4096):
            zz += part.T @ part
        return cls(len(design), design.sum(dim=0, dtype=torch.float64), zz)


class TargetMoments(NamedTuple):
    """Hold sums of targets over some samples.

    Attributes
    ----------
    n : int
        Samples.
    y, yy : Tensor of float64 (n_targets,)
        Sums, and sums of squares.
    zy : Tensor of float64 (n_features, n_targets)
        Sums of products with the features.
    """

    n: int
    y: Tensor
    yy: Tensor
    zy: Tensor

    def less(self, other: "TargetMoments") -> "TargetMoments":
        """Give the sums over the samples that are not among others."""
        return TargetMoments(self.n - other.n, self.y - other.y, self.yy - other.yy, self.zy - other.zy)

    @classmethod
    def of(cls, design: Tensor, targets: Tensor) -> "TargetMoments":
        """Sum over the rows of a design and of targets."""
        zy = torch.zeros((design.shape[1], targets.shape[1]), dtype=torch.float64, device=design.device)
        for part, values in zip(design.split(4096), targets.split(4096), strict=True):
            zy += part.T @ values
        y = targets.sum(dim=0, dtype=torch.float64)
        return cls(len(design), y, targets.double().square().sum(dim=0), zy)

"""Decode a layer's units from the BOLD signal: standardise, fit the banded ridge, predict, restore."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brainpred.decoding.bands import ridge_bands
from brainpred.decoding.stacks import ZscoredUnits
from brainpred.errors import DataError
from brainpred.numerics.ridge.estimator import DEFAULT_ALPHAS, BandedRidgeCV
from brainpred.progress import SILENT, Reporter

__all__ = ["DEFAULT_DELAYS_S", "BrainDecoder"]

DEFAULT_DELAYS_S = (3.0, 4.0, 5.0, 6.0)


class BrainDecoder:
    """Decode the units of one layer from voxels.

    Units are z-scored within each run before they are fitted; predictions come in those units, and
    :meth:`restore` brings them back to the layer's own with the training runs' mean and spread (those of
    the test run belong to the stimulus and would tell what the brain did not).

    Parameters
    ----------
    rois : array_like (n_voxels,), optional
        ROI of each voxel; needed for ROI bands.
    bands : {"roi", "delay", "roi×delay", "none"}
        What shares one regularisation.
    delays_s : sequence of float
        How many seconds after the stimulus the BOLD signal is read.
    tr_s : float
        Repetition time in seconds.
    alphas : sequence of float
        Regularisation to try.
    search : {"shared", "per-target", "himalaya"}
        How band weights are found; see :class:`brainpred.BandedRidgeCV`, as for the parameters below.
    n_candidates : int
        Band weights to try, where the search is not shared.
    device : {"auto", "cpu", "cuda"}
        Where to compute.
    precision : {"auto", "float64", "float32", "bfloat16"}
        What units are multiplied in while they are scored.
    memory_budget : float or str, optional
        Memory to work in.
    random_state : int
        Seed of the candidates.

    Attributes
    ----------
    ridge_ : BandedRidgeCV
        The fitted ridge.
    mean_, std_ : ndarray of float32 (n_units,)
        Mean and spread of the units in the training runs.

    References
    ----------
    Document 000, §2.2 and §4.1: PredNet's R_l explained from cortical voxels by ridge regression.
    """

    def __init__(
        self,
        rois: ArrayLike | None = None,
        *,
        bands: str = "roi",
        delays_s: Sequence[float] = DEFAULT_DELAYS_S,
        tr_s: float = 1.0,
        alphas: Sequence[float] = DEFAULT_ALPHAS,
        search: str = "shared",
        n_candidates: int = 40,
        device: str = "auto",
        precision: str = "auto",
        memory_budget: float | str | None = None,
        random_state: int = 0,
    ):
        self.rois, self.bands, self.delays_s, self.tr_s = rois, bands, tuple(delays_s), tr_s
        self.alphas, self.search, self.n_candidates, self.device = alphas, search, n_candidates, device
        self.precision, self.memory_budget, self.random_state = precision, memory_budget, random_state

    def fit(
        self,
        X: Any,
        Y: Any,
        runs: ArrayLike,
        groups: ArrayLike | None = None,
        *,
        like: "BrainDecoder | None" = None,
        reporter: Reporter = SILENT,
    ) -> "BrainDecoder":
        """Fit on training runs.

        Parameters
        ----------
        X : array_like, memory map or HDF5 data set (n_scans, n_voxels)
            BOLD signal, standardised within each run.
        Y : array_like, memory map or HDF5 data set (n_scans, n_units)
            Units of the layer, as they are.
        runs : array_like (n_scans,)
            Run of each scan.
        groups : array_like (n_scans,), optional
            Group of each scan's run: runs that show some of the same are left out together. None: the runs.
        like : BrainDecoder, optional
            A decoder fitted on the same X, whose kernels are used again.
        reporter : Reporter
            Where the plan, progress and the audit go.

        Returns
        -------
        BrainDecoder
            The fitted decoder.

        Raises
        ------
        DataError
            If arrays do not fit each other, or hold NaN or infinity.
        """
        X, Y = (values if hasattr(values, "shape") else np.asarray(values, dtype=np.float32) for values in (X, Y))
        n_rois = X.shape[1] if self.rois is None else len(np.asarray(self.rois))
        if len(X.shape) != 2 or len(Y.shape) != 2 or n_rois != X.shape[1] or X.shape[0] != Y.shape[0]:
            raise DataError(
                f"Expected BOLD (n_scans, {n_rois} voxels with a ROI) and as many scans of features, received "
                f"{tuple(X.shape)} and {tuple(Y.shape)}."
            )
        rois = np.full(X.shape[1], "all") if self.rois is None else np.asarray(self.rois)
        labels, per_delay = ridge_bands(self.bands, rois)
        units = ZscoredUnits(Y, np.asarray(runs))
        self.ridge_ = BandedRidgeCV(
            labels, per_delay=per_delay, delays_s=self.delays_s, tr_s=self.tr_s, alphas=self.alphas,
            search=self.search, n_candidates=self.n_candidates, device=self.device, precision=self.precision,
            memory_budget=self.memory_budget, random_state=self.random_state,
        )  # fmt: skip
        other = None if like is None else like.ridge_
        self.ridge_.fit(X, units, runs, groups, like=other, reporter=reporter)
        self.mean_, self.std_ = units.mean, units.std
        return self

    def predict_blocks(
        self, prepared: Any, *, by_band: bool = False
    ) -> Iterator[tuple[slice | NDArray[np.int64], NDArray[np.float32]]]:
        """Predict z-scored units, block after block.

        Parameters
        ----------
        prepared : BandKernels or Tensor
            The scans, as ``decoder.ridge_.prepare(X, runs)`` gives them.
        by_band : bool
            Whether each band predicts alone.

        Yields
        ------
        units : slice or ndarray of int64
            Which units; a slice unless memory forbids.
        predictions : ndarray of float32 (n_scans, n_units) or (n_bands, n_scans, n_units)
            Their predictions, in standard deviations.
        """
        for units, block in self.ridge_.predict_blocks(prepared, by_band=by_band):
            yield units, block.float().cpu().numpy()

    def predict(self, X: ArrayLike, runs: ArrayLike) -> NDArray[np.float32]:
        """Predict z-scored units.

        Parameters
        ----------
        X : array_like (n_scans, n_voxels)
            BOLD signal, standardised within each run.
        runs : array_like (n_scans,)
            Run of each scan.

        Returns
        -------
        ndarray of float32 (n_scans, n_units)
            Predictions, in standard deviations.
        """
        return self.ridge_.predict(X, runs).astype(np.float32)

    def restore(self, zscored: NDArray[Any]) -> NDArray[np.float32]:
        """Undo the z-scoring of units.

        Parameters
        ----------
        zscored : ndarray (..., n_units)
            Units in standard deviations.

        Returns
        -------
        ndarray of float32 (..., n_units)
            Units as the layer has them.
        """
        return (zscored * self.std_ + self.mean_).astype(np.float32)

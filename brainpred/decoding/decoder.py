"""Decode a layer's units from the BOLD signal: standardise, fit the banded ridge, predict, restore."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brainpred.decoding.bands import ridge_bands
from brainpred.errors import DataError
from brainpred.numerics.ridge.estimator import DEFAULT_ALPHAS, BandedRidgeCV
from brainpred.numerics.timing import zscore_runs

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
    n_candidates : int
        Band weights to try.
    device : {"auto", "cpu", "cuda"}
        Where to compute.
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
        n_candidates: int = 6,
        device: str = "auto",
        random_state: int = 0,
    ):
        self.rois, self.bands, self.delays_s, self.tr_s = rois, bands, tuple(delays_s), tr_s
        self.alphas, self.n_candidates, self.device, self.random_state = alphas, n_candidates, device, random_state

    def fit(self, X: ArrayLike, Y: ArrayLike, runs: ArrayLike, groups: ArrayLike | None = None) -> "BrainDecoder":
        """Fit on training runs.

        Parameters
        ----------
        X : array_like (n_scans, n_voxels)
            BOLD signal, standardised within each run.
        Y : array_like (n_scans, n_units)
            Units of the layer, as they are.
        runs : array_like (n_scans,)
            Run of each scan.
        groups : array_like (n_scans,), optional
            Clip shown at each scan: runs that show the same clip are left out together. None: the runs.

        Returns
        -------
        BrainDecoder
            The fitted decoder.
        """
        X, Y = np.asarray(X, dtype=np.float32), np.asarray(Y, dtype=np.float32)
        rois = np.full(X.shape[1], "all") if self.rois is None else np.asarray(self.rois)
        if len(rois) != X.shape[1] or len(X) != len(Y):
            raise DataError(
                f"Expected BOLD (n_scans, {len(rois)} voxels with a ROI) and as many scans of features, received "
                f"{X.shape} and {Y.shape}."
            )
        if not (np.isfinite(X).all() and np.isfinite(Y).all()):
            raise DataError("BOLD or features hold NaN or infinity; leave those voxels or units out.")
        labels, per_delay = ridge_bands(self.bands, rois)
        zscored, self.mean_, self.std_ = zscore_runs(Y, runs)
        self.ridge_ = BandedRidgeCV(
            labels, per_delay=per_delay, delays_s=self.delays_s, tr_s=self.tr_s, alphas=self.alphas,
            n_candidates=self.n_candidates, device=self.device, random_state=self.random_state,
        )  # fmt: skip
        self.ridge_.fit(X, zscored, runs, groups)
        return self

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
        return self.ridge_.predict(np.asarray(X, dtype=np.float32), runs).astype(np.float32)

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

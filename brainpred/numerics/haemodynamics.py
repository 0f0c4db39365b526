"""The response of the BOLD signal to a moment of activity."""

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import toeplitz
from scipy.stats import gamma

from brainpred.numerics.timing import check_repetition_time

__all__ = ["canonical_response", "convolution_matrix"]

RESPONSE_S = 32.0
PEAK_SHAPE, UNDERSHOOT_SHAPE = 6.0, 16.0  # of gamma densities of scale 1 s: the peak is at 5 s, the undershoot at 15 s
UNDERSHOOT = 1 / 6


def canonical_response(tr_s: float) -> NDArray[np.float64]:
    r"""Give SPM's canonical haemodynamic response, a difference of two gamma densities.

    .. math:: h(t) = \gamma_6(t) - \gamma_{16}(t) / 6

    Parameters
    ----------
    tr_s : float
        Repetition time in seconds.

    Returns
    -------
    ndarray of float64 (n_scans,)
        Response at 0, 1, 2, … scans after the activity, up to 32 s; it sums to 1.

    Raises
    ------
    ConfigError
        If the repetition time is no positive number.

    References
    ----------
    K. J. Friston et al., "Event-related fMRI: characterizing differential responses", NeuroImage 7, 1998.

    Examples
    --------
    >>> canonical_response(2.0).round(3).tolist()[:8]
    [0.0, 0.087, 0.375, 0.385, 0.216, 0.077, 0.002, -0.031]
    """
    check_repetition_time(tr_s)
    after_s = np.arange(0, RESPONSE_S, tr_s)
    response = gamma.pdf(after_s, PEAK_SHAPE) - UNDERSHOOT * gamma.pdf(after_s, UNDERSHOOT_SHAPE)
    return response / response.sum()


def convolution_matrix(response: NDArray[np.float64], n_scans: int) -> NDArray[np.float64]:
    """Write convolution with a response, within a run, as a matrix.

    Parameters
    ----------
    response : ndarray of float64 (n_response,)
        Response at 0, 1, 2, … scans.
    n_scans : int
        Length of the run.

    Returns
    -------
    ndarray of float64 (n_scans, n_scans)
        What times a course gives the convolved course; before the run there was nothing.

    Examples
    --------
    >>> convolution_matrix(np.array([0.75, 0.25]), 3).tolist()
    [[0.75, 0.0, 0.0], [0.25, 0.75, 0.0], [0.0, 0.25, 0.75]]
    """
    column = np.zeros(n_scans)
    column[: len(response)] = response[:n_scans]
    return toeplitz(column, np.zeros(n_scans))

"""Read the BOLD signal some seconds after the stimulus, never across the end of a run."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brainpred.errors import ConfigError
from brainpred.numerics.timing import check_repetition_time

__all__ = ["delayed_rows", "delays_in_samples"]


def delays_in_samples(delays_s: Sequence[float], tr_s: float) -> tuple[int, ...]:
    """Round delays to whole scans (halves up); delays that fall on the same scan count once.

    Parameters
    ----------
    delays_s : sequence of float
        Delays of the BOLD signal behind the stimulus, in seconds, none negative.
    tr_s : float
        Repetition time in seconds.

    Returns
    -------
    tuple of int
        Distinct delays in scans, ascending.

    Raises
    ------
    ConfigError
        If there is no delay, one is negative, or the repetition time is not positive.

    Examples
    --------
    >>> delays_in_samples([3, 4, 5, 6], tr_s=2.5)
    (1, 2)
    """
    check_repetition_time(tr_s)
    if np.ndim(delays_s) != 1 or not len(delays_s) or not np.all(np.isfinite(delays_s)) or min(delays_s) < 0:
        raise ConfigError(
            f"delays_s must be one or more delays of 0 s or later, received {np.asarray(delays_s).tolist()}."
        )
    return tuple(sorted({int(np.floor(delay / tr_s + 0.5 + 1e-9)) for delay in delays_s}))


def delayed_rows(runs: ArrayLike, delay: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pair every sample with the scan ``delay`` samples later in the same run.

    Parameters
    ----------
    runs : array_like (n_samples,)
        Run of each sample; the samples of a run are neighbours, in the order of time.
    delay : int
        Delay in scans.

    Returns
    -------
    samples, scans : ndarray of int64 (n_pairs,)
        Row of the stimulus and row of the BOLD signal that it is read from. Samples at the end of a run,
        whose scan would lie in the next run, are left out.

    Examples
    --------
    >>> delayed_rows([0, 0, 0, 1, 1], 1)
    (array([0, 1, 3]), array([1, 2, 4]))
    """
    runs = np.asarray(runs)
    samples = np.arange(max(0, len(runs) - delay))
    samples = samples[runs[samples] == runs[samples + delay]]
    return samples, samples + delay

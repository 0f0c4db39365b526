"""Average correlations over units, with intervals from drawing blocks of time again."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtrit

from brainpred.numerics.resampling import standardised
from brainpred.numerics.significance import Interval, time_blocks

__all__ = ["BlockBootstrap", "DrawnMean", "drawn_interval", "fisher_mean", "summed_means"]

LARGEST_R = 1 - 1e-7


def _artanh(r: Any) -> Any:
    return np.arctanh(np.clip(r, -LARGEST_R, LARGEST_R))


def fisher_mean(r: ArrayLike, axis: int | None = None) -> Any:
    """Average correlations by Fisher's z, tanh of the mean of artanh r; NaN is left out.

    Parameters
    ----------
    r : array_like
        Correlations.
    axis : int, optional
        Axis to average over; all by default.

    Returns
    -------
    float or ndarray
        The mean; NaN where there is nothing to average.

    Examples
    --------
    >>> round(float(fisher_mean([0.0, 0.8])), 3)
    0.5
    """
    z = _artanh(np.asarray(r, dtype=np.float64))
    n = np.isfinite(z).sum(axis=axis)
    total = np.nansum(z, axis=axis)
    return np.tanh(np.divide(total, n, out=np.full_like(total, np.nan, dtype=np.float64), where=n > 0))


class DrawnMean(NamedTuple):
    """Hold sums of artanh r over some units, so that means of all of them can be put together.

    Attributes
    ----------
    z, n : float, int
        Sum of artanh r over units, and their number.
    drawn_z, drawn_n : ndarray of float64 (n_draws,)
        The same in every draw.
    """

    z: float
    n: int
    drawn_z: NDArray[np.float64]
    drawn_n: NDArray[np.float64]

    @property
    def mean(self) -> float:
        """Mean of r by Fisher's z; NaN without units."""
        return float(np.tanh(self.z / self.n)) if self.n else float("nan")

    @property
    def drawn(self) -> NDArray[np.float64]:
        """Mean of r by Fisher's z in every draw, (n_draws,); NaN without units."""
        mean = np.full(len(self.drawn_z), np.nan)
        return np.tanh(np.divide(self.drawn_z, self.drawn_n, out=mean, where=self.drawn_n > 0))


def summed_means(parts: Sequence[DrawnMean]) -> DrawnMean:
    """Put means over parts of the units together to that over all."""
    return DrawnMean(
        sum(part.z for part in parts), sum(part.n for part in parts), np.sum([part.drawn_z for part in parts], axis=0),
        np.sum([part.drawn_n for part in parts], axis=0),
    )  # fmt: skip


def drawn_interval(
    centre: float, drawn: NDArray[np.floating], weights: NDArray[np.int64], n_blocks: int, *, level: float = 0.95
) -> Interval:
    r"""Give the interval of what was drawn again, :math:`c \pm t_{B-1} \sqrt{B / (B - 1)}\, s`.

    Parameters
    ----------
    centre : float
        What was found, c.
    drawn : ndarray (n_different,)
        The same in every draw; s is their spread.
    weights : ndarray of int64 (n_different,)
        How often each draw came.
    n_blocks : int
        Blocks B that were drawn from.
    level : float
        Part of such intervals that hold the truth, if blocks are independent.

    Returns
    -------
    Interval
        NaN with fewer than two blocks, or where nothing was found.
    """
    if n_blocks < 2 or not np.isfinite(drawn).all():
        return Interval(float("nan"), float("nan"))
    mean = np.average(drawn, weights=weights)
    spread = np.sqrt(np.average((drawn - mean) ** 2, weights=weights))
    reach = stdtrit(n_blocks - 1, (1 + level) / 2) * np.sqrt(n_blocks / (n_blocks - 1)) * spread
    return Interval(float(centre - reach), float(centre + reach))


class BlockBootstrap:
    r"""Draw blocks of time again, with replacement, the same for everything that is asked.

    The spread s of the mean of artanh r over draws gives

    .. math:: \tanh\Big(\bar z \pm t_{B-1} \sqrt{\tfrac{B}{B-1}}\, s\Big)

    with Student's t, since the blocks B may be few.

    Parameters
    ----------
    runs : array_like (n_samples,)
        Run of each sample.
    block_length : int
        Samples of a block.
    rng : numpy.random.Generator
        Source of all chance.
    n_draws : int
        Draws, each of as many blocks as there are.

    Attributes
    ----------
    n_blocks : int
        Blocks.
    weights : ndarray of int64 (n_different,)
        How often each of the different draws came: six blocks can be drawn in no more than 462 ways.
    """

    def __init__(self, runs: ArrayLike, block_length: int, rng: np.random.Generator, *, n_draws: int = 2000):
        self._blocks = time_blocks(runs, block_length)
        self.n_blocks = int(self._blocks.max()) + 1
        self._starts = np.flatnonzero(np.diff(self._blocks, prepend=-1))
        taken = rng.multinomial(self.n_blocks, np.full(self.n_blocks, 1 / self.n_blocks), size=n_draws)
        different, self.weights = np.unique(taken, axis=0, return_counts=True)
        self._taken = different.astype(np.float32)
        self._n = self._taken @ np.diff([*self._starts, len(self._blocks)]).astype(np.float32)  # samples of each draw

    def mean(self, pairs: Iterable[tuple[NDArray[Any], NDArray[Any]]]) -> DrawnMean:
        """Average the correlations of units, as found and in every draw.

        Parameters
        ----------
        pairs : iterable of (ndarray (n_samples, n_units), ndarray (n_samples, n_units))
            True and predicted values, some units at a time.

        Returns
        -------
        DrawnMean
            Sums over the units that vary.
        """
        z, n = 0.0, 0
        drawn_z, drawn_n = np.zeros(len(self._n)), np.zeros(len(self._n))
        for true, predicted in pairs:
            y, y_hat = standardised(true).T, standardised(predicted).T
            found = _artanh(np.sum(y * y_hat, axis=0, dtype=np.float64))
            z, n = z + float(np.nansum(found)), n + int(np.isfinite(found).sum())
            here = _artanh(self._correlations(y, y_hat))
            drawn_z += np.nansum(here, axis=1, dtype=np.float64)
            drawn_n += np.isfinite(here).sum(axis=1)
        return DrawnMean(z, n, drawn_z, drawn_n)

    def _correlations(self, y: NDArray[np.float32], y_hat: NDArray[np.float32]) -> NDArray[np.float32]:
        """Correlate every unit in every draw, (n_draws, n_units)."""
        n = self._n[:, None]
        sums = [
            self._taken @ np.add.reduceat(part, self._starts) for part in (y, y_hat, y * y, y_hat * y_hat, y * y_hat)
        ]
        covariance = sums[4] - sums[0] * sums[1] / n
        power = (sums[2] - sums[0] ** 2 / n) * (sums[3] - sums[1] ** 2 / n)
        return np.divide(covariance, np.sqrt(power.clip(min=0)), out=np.full_like(power, np.nan), where=power > 0)

    def interval(self, mean: DrawnMean, *, level: float = 0.95) -> Interval:
        """Give the interval of a mean r; NaN with fewer than two blocks or no units.

        Parameters
        ----------
        mean : DrawnMean
            What :meth:`mean` gave, or a sum of such.
        level : float
            Part of such intervals that hold the truth, if blocks are independent.

        Returns
        -------
        Interval
            Its ends.
        """
        ends = drawn_interval(_artanh(mean.mean), _artanh(mean.drawn), self.weights, self.n_blocks, level=level)
        return Interval(float(np.tanh(ends.low)), float(np.tanh(ends.high)))

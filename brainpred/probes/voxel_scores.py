r"""Score voxels that were predicted while they were left out, and tell them from chance.

A prediction that is linear in the voxel's own values at other pairs is the same for all voxels: weights
:math:`w_{ij}`, which pair j has for pair i. With :math:`m_i` the voxel's mean over the pairs that i is predicted from,

.. math:: d_i = x_i - m_i, \qquad e_i = \sum_j w_{ij} x_j - m_i, \qquad r = \mathrm{corr}_i(d_i, e_i).

Of x and the prediction themselves, r of voxels that know nothing would be far below 0: the mean of the other pairs is
high where the value left out is low (if nothing but that mean were predicted of pairs left out one at a time, r would
be -1). The little that is left comes from predictions that vary more where chance makes them right: r divides by their
spread, so that misses count more than hits. :meth:`VoxelPrediction.correlate` corrects for it where voxels have noise
of their own. The weights are taken as fixed, though they were learned from the voxels: where voxels are few, or most of
their noise is shared, r of blind ones is .03 to .07 below 0 at the worst, and p too large rather than too small.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from brainpred.numerics.resampling import exceedances
from brainpred.numerics.spread import varies

__all__ = ["VoxelPrediction"]

N_PERMUTATIONS = 2000
FIRST, CLEAR = 200, 20  # a voxel whose r so many of the first so many permutations reach is permuted no more
N_BLIND = 2**15
VOXELS_AT_ONCE = 2048


@dataclass(frozen=True)
class VoxelPrediction:
    r"""Hold how voxels are predicted at pairs left out.

    Attributes
    ----------
    rows : ndarray of int64 (n_left_out,)
        Which pairs were left out.
    weights : ndarray of float32 (n_left_out, n_pairs)
        :math:`w_{ij}`; each row sums to 1, and is 0 where nothing was learned from a pair.
    means : ndarray of float32 (n_left_out, n_pairs)
        The same for the mean of the pairs that were learned from.
    """

    rows: NDArray[np.int64]
    weights: NDArray[np.float32]
    means: NDArray[np.float32]

    def predict(self, voxels: NDArray[np.floating]) -> NDArray[np.float32]:
        """Predict voxels (n_pairs, n_voxels) at the pairs left out: (n_left_out, n_voxels), in the units given."""
        level = voxels.mean(axis=0, dtype=np.float64)
        predicted: NDArray[np.float32] = (self.weights @ (voxels - level) + level).astype(np.float32)
        return predicted

    def correlate(self, voxels: NDArray[np.floating], seed: int = 0) -> NDArray[np.float64]:
        r"""Correlate voxels with their predictions, corrected for chance.

        .. math:: (r - r_0) / (1 - r_0),

        where :math:`r_0` is the mean r of voxels of noise, predicted by the same weights. It is 0 where pairs left out
        are not learned from at other times, such as test pairs: what is given is Pearson's r then.

        Parameters
        ----------
        voxels : ndarray (n_pairs, n_voxels)
            What was measured.
        seed : int
            Seed of the noise.

        Returns
        -------
        ndarray of float64 (n_voxels,)
            1 for a perfect prediction, 0 on average for voxels that know nothing; 0 where nothing varies.
        """
        maps = self._maps()
        found = np.concatenate([_correlations(maps, x) for _, x in _in_blocks(voxels)])
        chance = self.chance(seed)
        return np.where(found == 0, 0, (found - chance) / (1 - chance))

    def chance(self, seed: int = 0) -> float:
        """Give the mean r of voxels of noise, before it is corrected for."""
        if not self.means[:, self.rows].any():
            return 0.0
        maps, rng = self._maps(), np.random.default_rng(seed)
        shape = self.weights.shape[1], VOXELS_AT_ONCE
        noise = (rng.standard_normal(shape, np.float32) for _ in range(N_BLIND // VOXELS_AT_ONCE))
        return float(np.mean([_correlations(maps, x).mean() for x in noise]))

    def p(
        self,
        voxels: NDArray[np.floating],
        shown: NDArray[np.int64],
        *,
        n_permutations: int = N_PERMUTATIONS,
        seed: int = 0,
        advance: Callable[[float], None] = lambda n_voxels: None,
    ) -> NDArray[np.float64]:
        r"""Tell how often r is as high when pictures have changed places, :math:`(1 + \#\{r_\pi \ge r\}) / (1 + n)`.

        A voxel's values change places, and what it is predicted from with them: the values of test pairs among each
        other, or, where every pair is left out in turn, all. Were its predictions kept, p would be too small there, as
        a value left out has made the predictions of others. All repeats of a picture take the places of one that was
        shown as often. Pictures are taken to be exchangeable: p of a movie, whose neighbouring pictures are
        alike, is too small.

        Parameters
        ----------
        voxels : ndarray (n_pairs, n_voxels)
            What was measured.
        shown : ndarray of int64 (n_pairs,)
            Number of the picture of each pair.
        n_permutations : int
            How many, at the most: 200 of a voxel whose r 20 of those reach. Each takes two products of (n_left_out,
            n_pairs) and (n_pairs, n_voxels).
        seed : int
            Seed of the permutations.
        advance : callable
            Told of every so many voxels that are tested.

        Returns
        -------
        ndarray of float64 (n_voxels,)
            p, one-sided; 1 where nothing varies; NaN where no two pictures were shown equally often, so that nothing
            can change places.

        References
        ----------
        B. Phipson, G. K. Smyth, "Permutation p-values should never be zero", Stat. Appl. Genet. Mol. Biol. 9, 2010.
        """
        maps, rng = self._maps(), np.random.default_rng(seed)
        places = _places(shown[self.rows])
        orders = np.tile(np.arange(len(voxels)), (n_permutations, 1))
        for order in orders:
            for rows in places:  # (n_pictures, n_repeats)
                order[self.rows[rows]] = self.rows[rng.permutation(rows)]
        p = np.full(voxels.shape[1], np.nan)
        if all(len(rows) == 1 for rows in places):
            return p
        for columns, x in _in_blocks(voxels):
            found = _correlations(maps, x)
            reached, drawn = np.zeros((2, x.shape[1]), np.int64)
            going_on = np.arange(x.shape[1])
            for done, order in enumerate(orders):
                if done == FIRST:
                    going_on = np.flatnonzero(reached < CLEAR)
                    x, found = x[:, going_on], found[going_on]
                reached[going_on] += exceedances(found, _correlations(maps, x[order])[None])
                drawn[going_on] += 1
            p[columns] = (1 + reached) / (1 + drawn)
            advance(len(drawn))
        return p

    def _maps(self) -> NDArray[np.float32]:
        """Give the maps (2 n_left_out, n_pairs) from values to d and, below, e, both less their means over pairs."""
        measured = -self.means
        measured[np.arange(len(self.rows)), self.rows] += 1
        both = np.stack([measured, self.weights - self.means])
        return (both - both.mean(axis=1, keepdims=True)).reshape(-1, both.shape[2])


def _places(shown: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Give the places (n_pictures, n_repeats) of the pictures that are shown equally often, for each such number."""
    of_picture = [np.flatnonzero(shown == number) for number in np.unique(shown)]
    counts = {len(rows) for rows in of_picture}
    return [np.stack([rows for rows in of_picture if len(rows) == count]) for count in sorted(counts)]


def _in_blocks(voxels: NDArray[np.floating]) -> Iterator[tuple[slice, NDArray[np.float32]]]:
    """Standardise voxels, some at a time."""
    for first in range(0, voxels.shape[1], VOXELS_AT_ONCE):
        columns = slice(first, first + VOXELS_AT_ONCE)
        x = voxels[:, columns].astype(np.float64)
        known = varies(voxels[:, columns])
        yield columns, np.where(known, (x - x.mean(axis=0)) / np.where(known, x.std(axis=0), 1), 0).astype(np.float32)


def _correlations(maps: NDArray[np.float32], x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Correlate what maps (2 n, n_pairs) make of standardised values (n_pairs, n_voxels); 0 where nothing varies."""
    d, e = np.split(maps @ x, 2)
    norm = np.sqrt(np.einsum("iv,iv->v", d, d) * np.einsum("iv,iv->v", e, e))
    product = np.einsum("iv,iv->v", d, e)
    return np.divide(product, norm, out=np.zeros_like(norm), where=norm > 0)

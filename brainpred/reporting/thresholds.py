"""Choose what of a brain map is drawn, so that noise does not look like a finding."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from brainpred.errors import DataError

__all__ = ["Shown", "everything", "label_vertices", "label_voxels", "significant", "standing_out", "unbalanced"]

FALSE_DISCOVERY_RATE = 0.05
STANDING_OUT_SD, CLUSTER_SIZE = 3.0, 10
LOWER_SD_PERCENTILE = 15.87  # of a normal distribution: one standard deviation below the median
FACES_AND_EDGES = ndimage.generate_binary_structure(3, 2)


@dataclass(frozen=True)
class Shown:
    """Say which places of a map are drawn, and by what rule.

    Attributes
    ----------
    places : ndarray of bool
        Which; of the shape of the map.
    rule : str
        Words that stand under the map.
    signed : bool
        Whether values below 0 mean something; else they are drawn as 0.
    from_zero : bool
        Whether colours begin at 0, and not at the 1st percentile: 0 may be far from all there is.
    """

    places: NDArray[np.bool_]
    rule: str
    signed: bool = False
    from_zero: bool = True


def everything(values: NDArray[np.floating]) -> Shown:
    """Draw all that was measured, which is where a map is not 0."""
    return Shown(values != 0, "", from_zero=False)


def label_voxels(places: NDArray[np.bool_]) -> NDArray[np.integer]:
    """Give numbers to the clusters of voxels that share a face or an edge, from 1; 0 elsewhere."""
    labels: NDArray[np.integer] = ndimage.label(places, FACES_AND_EDGES)[0]
    return labels


def standing_out(
    values: NDArray[np.floating], label: Callable[[NDArray[np.bool_]], NDArray[np.integer]], what: str = "voxels"
) -> Shown:
    """Draw clusters that rise above the bulk of a map, for values whose chance level nobody knows but all share.

    Most places are taken to carry nothing. Half of what they have lies below the median m; how far it spreads there,
    s, tells how far it does above. Clusters of 10 or more neighbours are kept whose values all exceed m + 3 s. (A map
    of which most carries something is drawn with too little, never with too much.)

    Parameters
    ----------
    values : ndarray
        Map; 0 where nothing was measured.
    label : callable
        Numbers the clusters of neighbours among chosen places, from 1; 0 elsewhere.
    what : str
        What places are called.

    Returns
    -------
    Shown
        What is drawn.
    """
    measured = values[values != 0]
    rule = f"clusters of {CLUSTER_SIZE} {what} or more, {STANDING_OUT_SD:g} SD above most {what}"
    if not len(measured):
        return Shown(np.zeros(values.shape, dtype=bool), rule)
    median = float(np.median(measured))
    spread = median - float(np.percentile(measured, LOWER_SD_PERCENTILE))
    labels = label((values != 0) & (values >= median + STANDING_OUT_SD * spread))
    large = np.flatnonzero(np.bincount(labels.ravel())[1:] >= CLUSTER_SIZE) + 1
    return Shown(np.isin(labels, large), rule)


def unbalanced(values: NDArray[np.floating], what: str = "voxels") -> Shown:
    """Draw positive values so large that there are hardly any negative ones of that size.

    What carries nothing is above 0 as often as below. So of the values of at least t, about as many are chance as there
    are values of at most -t; t is the smallest that leaves at most 5 % of such (Barber & Candès, 2015).

    Parameters
    ----------
    values : ndarray
        Map; 0 where nothing was measured.
    what : str
        What places are called.

    Returns
    -------
    Shown
        What is drawn.

    References
    ----------
    R. F. Barber, E. J. Candès, Annals of Statistics 43, 2055-2085, 2015: the threshold of knockoff+.
    """
    above = np.sort(values[values > 0])[::-1]
    below = np.sort(-values[values < 0])
    n_above = np.arange(1, len(above) + 1)
    n_below = len(below) - np.searchsorted(below, above, side="left")
    kept = np.flatnonzero((1 + n_below) / n_above <= FALSE_DISCOVERY_RATE)
    places = values >= above[kept[-1]] if len(kept) else np.zeros(values.shape, dtype=bool)
    return Shown(places, f"{what} so large that, by those below 0, at most 5 % are chance", signed=True)


def significant(values: NDArray[np.floating], q: NDArray[np.floating], what: str = "voxels") -> Shown:
    """Draw what is significant.

    Parameters
    ----------
    values : ndarray
        Map.
    q : ndarray
        Adjusted p of the same places; 0 where nothing was measured.
    what : str
        What places are called.

    Returns
    -------
    Shown
        What is drawn.

    Raises
    ------
    DataError
        If the two have other shapes.
    """
    if values.shape != q.shape:
        raise DataError(f"Expected as many q as values, {values.shape}; received {q.shape}.")
    return Shown((values != 0) & (q > 0) & (q < FALSE_DISCOVERY_RATE), f"{what} with q < 0.05")


def label_vertices(faces: NDArray[np.integer], places: NDArray[np.bool_]) -> NDArray[np.integer]:
    """Give numbers to the clusters of chosen vertices that triangles join, from 1; 0 elsewhere."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    edges = edges[places[edges].all(axis=1)]
    graph: Any = coo_array((np.ones(len(edges), dtype=np.int8), edges.T), shape=(len(places),) * 2)
    labels = connected_components(graph, directed=False)[1]
    return np.where(places, labels + 1, 0)

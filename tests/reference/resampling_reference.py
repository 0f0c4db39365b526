"""Permuted and resampled correlations by copying rows and loops: slow, float64, independent."""

import numpy as np


def correlate(one, other):
    """Correlate two series; NaN where one is constant."""
    one, other = np.asarray(one, dtype=float), np.asarray(other, dtype=float)
    if np.ptp(one) == 0 or np.ptp(other) == 0:
        return np.nan
    return np.corrcoef(one, other)[0, 1]


def permuted_correlations(true, predicted, permutations):
    """Put the blocks of the prediction at each other's places and correlate, (n_permutations, n_units)."""
    null = []
    for order, cut in zip(permutations.orders, permutations.cuts, strict=True):
        moved, rows = np.array(predicted, dtype=float), permutations.rows[cut]
        for place, block in enumerate(order):
            moved[rows[place]] = predicted[rows[block]]
        null.append([correlate(true[:, unit], moved[:, unit]) for unit in range(true.shape[1])])
    return np.array(null)


def forward_patterns(X, decoded, runs, samples, delays):
    """Correlate every decoded unit with every voxel at every delay, (n_delays, n_voxels, n_units)."""
    patterns = np.zeros((len(delays), X.shape[1], decoded.shape[1]))
    for d, delay in enumerate(delays):
        pairs = [
            (row, scan + delay)
            for row, scan in enumerate(samples)
            if scan + delay < len(X) and runs[scan + delay] == runs[scan]
        ]
        rows, scans = zip(*pairs, strict=True)
        for voxel in range(X.shape[1]):
            for unit in range(decoded.shape[1]):
                patterns[d, voxel, unit] = np.nan_to_num(correlate(X[list(scans), voxel], decoded[list(rows), unit]))
    return patterns


def adjusted_p(p):
    """Benjamini and Hochberg's adjusted p, by their definition: the least level at which each would be found."""
    tested = [value for value in p if not np.isnan(value)]
    adjusted = []
    for value in p:
        if np.isnan(value):
            adjusted.append(np.nan)
            continue
        levels = [len(tested) * other / sum(p_ <= other for p_ in tested) for other in tested if other >= value]
        adjusted.append(min(1.0, *levels))
    return np.array(adjusted)

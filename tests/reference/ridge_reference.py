"""Banded ridge in primal form, by explicit copies of delayed features and plain refits: slow, float64, independent."""

from typing import NamedTuple

import numpy as np


class PrimalFit(NamedTuple):
    """What the search chose for every target; ``weights`` holds one (n_columns, n_targets) array a band."""

    weights: list
    intercept: np.ndarray
    gammas: np.ndarray
    alphas: np.ndarray
    scores: np.ndarray


def delayed_copy(features, runs, delay):
    """Give every sample the features ``delay`` samples later in its run, and zeros where the run has ended."""
    copy = np.zeros(np.shape(features))
    for run in set(np.asarray(runs).tolist()):
        rows = [row for row in range(len(runs)) if runs[row] == run]
        for position, row in enumerate(rows):
            if position + delay < len(rows):
                copy[row] = features[rows[position + delay]]
    return copy


def band_designs(features, runs, labels, delays, *, per_delay=False):
    """Give the design matrix of every band: bands in sorted order; their delays side by side, or one band each."""
    features, labels = np.asarray(features, dtype=float), np.asarray(labels)
    designs = []
    for label in sorted(set(labels.tolist())):
        copies = [delayed_copy(features[:, labels == label], runs, delay) for delay in delays]
        designs += copies if per_delay else [np.hstack(copies)]
    return designs


def design_scales(designs):
    """Give the mean squared length of the rows of every design: the mean diagonal of its kernel."""
    scales = []
    for design in designs:
        scale = sum(float(row @ row) for row in design) / len(design)
        scales.append(scale if scale > 0 else 1.0)
    return np.array(scales)


def folds_of(runs):
    """Leave out one run at a time; of a single run, one of five blocks."""
    runs = np.asarray(runs)
    names = sorted(set(runs.tolist()))
    if len(names) > 1:
        return [(np.flatnonzero(runs != name), np.flatnonzero(runs == name)) for name in names]
    blocks = np.array_split(np.arange(len(runs)), min(5, len(runs)))
    return [(np.concatenate(blocks[:k] + blocks[k + 1 :]), blocks[k]) for k in range(len(blocks))]


def solve(designs, targets, gamma, alpha):
    """Solve the normal equations of columns weighted by √(γ_b), data centred; weights are those of the raw columns."""
    factors = np.concatenate([np.full(design.shape[1], np.sqrt(g)) for design, g in zip(designs, gamma, strict=True)])
    raw = np.hstack(designs)
    columns = raw * factors
    centred = columns - columns.mean(axis=0)
    normal = centred.T @ centred + alpha * np.eye(columns.shape[1])
    weights = np.linalg.solve(normal, centred.T @ (targets - targets.mean(axis=0))) * factors[:, None]
    return weights, targets.mean(axis=0) - raw.mean(axis=0) @ weights


def r2(true, predicted):
    """Give 1 - Σ (y - ŷ)² / Σ (y - mean y)² of one target; 0 where the truth is constant."""
    total = np.sum((true - true.mean()) ** 2)
    return 1 - np.sum((true - predicted) ** 2) / total if total > 0 else 0.0


def search_scores(designs, targets, folds, candidates, alphas):
    """Refit every candidate without each fold; R² of what was left out, (n_candidates, n_alphas, n_targets)."""
    scores = np.zeros((len(candidates), len(alphas), targets.shape[1]))
    for c, gamma in enumerate(candidates):
        for a, alpha in enumerate(alphas):
            for train, test in folds:
                weights, intercept = solve([design[train] for design in designs], targets[train], gamma, alpha)
                predicted = np.hstack(designs)[test] @ weights + intercept
                for j in range(targets.shape[1]):
                    scores[c, a, j] += r2(targets[test, j], predicted[:, j]) / len(folds)
    return scores


def fit(designs, targets, folds, candidates, alphas):
    """Choose (γ, α) for every target by cross-validation, and fit it to all samples."""
    targets = np.asarray(targets, dtype=float)
    scales = design_scales(designs)
    scaled = [design / np.sqrt(scale) for design, scale in zip(designs, scales, strict=True)]
    scores = search_scores(scaled, targets, folds, candidates, alphas)
    n_targets = targets.shape[1]
    stacked = np.zeros((sum(design.shape[1] for design in designs), n_targets))
    intercept, chosen_gammas, chosen_alphas = np.zeros(n_targets), np.zeros((len(designs), n_targets)), []
    for j in range(n_targets):
        c, a = np.unravel_index(scores[:, :, j].argmax(), scores.shape[:2])
        weights, constant = solve(scaled, targets[:, [j]], candidates[c], alphas[a])
        stacked[:, j], intercept[j], chosen_gammas[:, j] = weights[:, 0], constant[0], candidates[c]
        chosen_alphas.append(alphas[a])
    parts = np.split(stacked, np.cumsum([design.shape[1] for design in designs])[:-1])
    weights = [part / np.sqrt(scale) for part, scale in zip(parts, scales, strict=True)]
    return PrimalFit(weights, intercept, chosen_gammas, np.array(chosen_alphas), scores)


def predict(designs, fitted):
    """Predict from explicit weights: each band's part (n_bands, n_samples, n_targets), and the whole."""
    parts = np.stack([design @ weights for design, weights in zip(designs, fitted.weights, strict=True)])
    return parts, parts.sum(axis=0) + fitted.intercept


def voxel_contributions(features, runs, labels, delays, fitted, true, *, per_delay=False):
    """Predict from one voxel at a time, all others silent: mean over targets of Σ y ŷ_v / Σ y², y centred."""
    features, true = np.asarray(features, dtype=float), np.asarray(true, dtype=float)
    centred = true - true.mean(axis=0)
    contributions = np.zeros(features.shape[1])
    for voxel in range(features.shape[1]):
        alone = np.zeros_like(features)
        alone[:, voxel] = features[:, voxel]
        parts, _ = predict(band_designs(alone, runs, labels, delays, per_delay=per_delay), fitted)
        predicted = parts.sum(axis=0)
        for j in range(true.shape[1]):
            power = np.sum(centred[:, j] ** 2)
            if power > 0:
                contributions[voxel] += np.sum(centred[:, j] * predicted[:, j]) / power / true.shape[1]
    return contributions

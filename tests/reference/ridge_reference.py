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


def band_designs(features, runs, labels, delays, *, per_delay=False, means=None):
    """Give the design matrix of every band: bands in sorted order; their delays side by side, or one band each.

    Features are first centred on ``means``, those of the training samples (by default their own), so that what lies
    past the end of a run stands at the mean.
    """
    features, labels = np.asarray(features, dtype=float), np.asarray(labels)
    features = features - (features.mean(axis=0) if means is None else means)
    designs = []
    for label in sorted(set(labels.tolist())):
        copies = [delayed_copy(features[:, labels == label], runs, delay) for delay in delays]
        designs += copies if per_delay else [np.hstack(copies)]
    return designs


def design_scales(designs):
    """Give the mean squared length of the centred rows of every design: the mean diagonal of its centred kernel."""
    scales = []
    for design in designs:
        centred = design - design.mean(axis=0)
        scale = sum(float(row @ row) for row in centred) / len(design)
        scales.append(scale if scale > 0 else 1.0)
    return np.array(scales)


def scaled_kernels(designs):
    """Give the kernel of every design, so scaled that it has, centred, a mean diagonal of 1."""
    return [design @ design.T / scale for design, scale in zip(designs, design_scales(designs), strict=True)]


def folds_of(runs):
    """Leave out one run at a time; of a single run, one of five blocks."""
    runs = np.asarray(runs)
    names = sorted(set(runs.tolist()))
    if len(names) > 1:
        return [(np.flatnonzero(runs != name), np.flatnonzero(runs == name)) for name in names]
    blocks = np.array_split(np.arange(len(runs)), min(5, len(runs)))
    return [(np.concatenate(blocks[:k] + blocks[k + 1 :]), blocks[k]) for k in range(len(blocks))]


def with_gaps(folds, n_gap):
    """Take the ``n_gap`` samples on both sides of every test sample out of training."""
    return [
        (np.array([row for row in train if min(abs(int(row) - int(other)) for other in test) > n_gap]), test)
        for train, test in folds
    ]


def solve(designs, targets, gamma, alpha, *, intercept=True):
    """Solve the normal equations of columns weighted by √(γ_b), data centred; weights are those of the raw columns."""
    factors = np.concatenate([np.full(design.shape[1], np.sqrt(g)) for design, g in zip(designs, gamma, strict=True)])
    raw = np.hstack(designs)
    columns = raw * factors
    centred = columns - columns.mean(axis=0) if intercept else columns
    normal = centred.T @ centred + alpha * np.eye(columns.shape[1])
    weights = np.linalg.solve(normal, centred.T @ targets) * factors[:, None]
    if not intercept:
        return weights, np.zeros(targets.shape[1])
    return weights, targets.mean(axis=0) - raw.mean(axis=0) @ weights


def solve_dual(kernel, targets, alpha, *, intercept=True):
    """Give dual weights and intercept of (K + αI) A + 1 c = Y with 1ᵀA = 0, as one system of equations."""
    n = len(kernel)
    if not intercept:
        return np.linalg.solve(kernel + alpha * np.eye(n), targets), np.zeros(targets.shape[1])
    system = np.zeros((n + 1, n + 1))
    system[:n, :n] = kernel + alpha * np.eye(n)
    system[:n, n] = system[n, :n] = 1
    solution = np.linalg.solve(system, np.vstack([targets, np.zeros((1, targets.shape[1]))]))
    return solution[:n], solution[n]


def refit_residuals(kernel, targets, alpha, fold, *, intercept=True):
    """Fit the training samples of a fold, and give what is left of its test samples."""
    train, test = fold
    dual, constant = solve_dual(kernel[np.ix_(train, train)], targets[train], alpha, intercept=intercept)
    return targets[test] - kernel[np.ix_(test, train)] @ dual - constant


def standardised(targets, *, centre=True):
    """Give targets in their own standard deviations, one after another; constant ones are left out."""
    columns = []
    for target in np.asarray(targets, dtype=float).T:
        if target.max() > target.min():
            away = target - target.mean() if centre else target
            columns.append(away / np.sqrt(np.mean(away**2)))
    return np.stack(columns, axis=1)


def refit_loss(kernels, delta, targets, folds, *, intercept=True):
    """Give the mean over folds and targets of the squared residuals of what is left out, α being 1."""
    kernel = sum(weight * one for weight, one in zip(delta, kernels, strict=True))
    losses = []
    for fold in folds:
        residuals = refit_residuals(kernel, targets, 1.0, fold, intercept=intercept)
        losses += [np.mean(residuals[:, j] ** 2) for j in range(targets.shape[1])]
    return np.mean(losses)


def r2(true, predicted):
    """Give 1 - Σ (y - ŷ)² / Σ (y - mean y)² of one target; 0 where the truth is constant."""
    total = np.sum((true - true.mean()) ** 2)
    return 1 - np.sum((true - predicted) ** 2) / total if true.max() > true.min() else 0.0


def search_scores(designs, targets, folds, candidates, alphas, *, intercept=True):
    """Refit every candidate without each fold; R² of what was left out, (n_candidates, n_alphas, n_targets)."""
    scores = np.zeros((len(candidates), len(alphas), targets.shape[1]))
    for c, gamma in enumerate(candidates):
        for a, alpha in enumerate(alphas):
            for train, test in folds:
                weights, constant = solve(
                    [design[train] for design in designs], targets[train], gamma, alpha, intercept=intercept
                )
                predicted = np.hstack(designs)[test] @ weights + constant
                for j in range(targets.shape[1]):
                    scores[c, a, j] += r2(targets[test, j], predicted[:, j]) / len(folds)
    return scores


def fit(designs, targets, folds, candidates, alphas, *, intercept=True):
    """Choose (γ, α) for every target by cross-validation, and fit it to all samples."""
    targets = np.asarray(targets, dtype=float)
    scaled = [design / np.sqrt(scale) for design, scale in zip(designs, design_scales(designs), strict=True)]
    scores = search_scores(scaled, targets, folds, candidates, alphas, intercept=intercept)
    best = [np.unravel_index(scores[:, :, j].argmax(), scores.shape[:2]) for j in range(targets.shape[1])]
    gammas = np.stack([candidates[c] for c, _ in best], axis=1)
    chosen = fit_chosen(designs, targets, gammas, [alphas[a] for _, a in best], intercept=intercept)
    return chosen._replace(scores=scores)


def fit_chosen(designs, targets, gammas, alphas, *, intercept=True):
    """Fit every target with the γ (n_bands, n_targets) and α (n_targets,) that were chosen for it."""
    targets = np.asarray(targets, dtype=float)
    scales = design_scales(designs)
    scaled = [design / np.sqrt(scale) for design, scale in zip(designs, scales, strict=True)]
    stacked = np.zeros((sum(design.shape[1] for design in designs), targets.shape[1]))
    constants = np.zeros(targets.shape[1])
    for j in range(targets.shape[1]):
        weights, constant = solve(scaled, targets[:, [j]], gammas[:, j], alphas[j], intercept=intercept)
        stacked[:, j], constants[j] = weights[:, 0], constant[0]
    parts = np.split(stacked, np.cumsum([design.shape[1] for design in designs])[:-1])
    weights = [part / np.sqrt(scale) for part, scale in zip(parts, scales, strict=True)]
    return PrimalFit(weights, constants, gammas, np.array(alphas), None)


def predict(designs, fitted):
    """Predict from explicit weights: each band's part (n_bands, n_samples, n_targets), and the whole."""
    parts = np.stack([design @ weights for design, weights in zip(designs, fitted.weights, strict=True)])
    return parts, parts.sum(axis=0) + fitted.intercept


def split_r2(parts, true):
    """Give Σ ŷ_b (2 y - ŷ) / Σ y² of every band and target, all centred, (n_bands, n_targets)."""
    scores = np.zeros((len(parts), true.shape[1]))
    for j in range(true.shape[1]):
        y = true[:, j] - true[:, j].mean()
        centred = [part[:, j] - part[:, j].mean() for part in parts]
        for b, part in enumerate(centred):
            scores[b, j] = np.sum(part * (2 * y - sum(centred))) / np.sum(y**2)
    return scores


def voxel_contributions(features, runs, labels, delays, fitted, true, *, per_delay=False, means=None):
    """Predict from one voxel at a time, all others at their mean: mean over targets of Σ y ŷ_v / Σ y², y centred."""
    features, true = np.asarray(features, dtype=float), np.asarray(true, dtype=float)
    means = features.mean(axis=0) if means is None else means
    centred = true - true.mean(axis=0)
    contributions = np.zeros(features.shape[1])
    for voxel in range(features.shape[1]):
        alone = np.tile(means, (len(features), 1))
        alone[:, voxel] = features[:, voxel]
        parts, _ = predict(band_designs(alone, runs, labels, delays, per_delay=per_delay, means=means), fitted)
        predicted = parts.sum(axis=0)
        for j in range(true.shape[1]):
            power = np.sum(centred[:, j] ** 2)
            if power > 0:
                contributions[voxel] += np.sum(centred[:, j] * predicted[:, j]) / power / true.shape[1]
    return contributions

"""Reconstruct pictures from voxels through a latent bridge, beside controls, from pairs that were left out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from brainpred.errors import DataError
from brainpred.models.bridge import LatentBridge
from brainpred.models.ppca import ProbabilisticPCA
from brainpred.models.vae import VAE
from brainpred.numerics.grouped_ridge import choose_alpha
from brainpred.numerics.rows import number_rows
from brainpred.probes.voxel_scores import VoxelPrediction

__all__ = ["METHODS", "VIEWS", "VOXEL_METHODS", "LeftOut", "best_view", "reconstruct_left_out"]

METHODS = ("bridge", "ridge to latents", "ridge to pixels", "mean picture", "shuffled pairs")
VOXEL_METHODS = ("bridge", "ridge", "shuffled pairs")
N_LATENTS = (5, 10, 15, 20, 30, 40, 60, 80)  # of voxels, tried by cross-validation
ALPHAS = np.logspace(0, 7, 15)
INTERVAL = 0.9
USED = 0.9  # a latent of pictures counts as used where its posterior is narrower than this, the prior's spread being 1
CROSS_FITS = 10
FEWEST_PAIRS = 16  # to learn from


@dataclass(frozen=True)
class LeftOut:
    """Hold what was predicted of pairs that were left out.

    Attributes
    ----------
    rows : ndarray of int64 (n_left_out,)
        Which pairs were left out, ascending: all, unless others were named.
    pictures : dict of str to ndarray of float32 (n_left_out, 28, 28)
        Pictures by method, in [0, 1].
    spread : ndarray of float32 (n_left_out, 28, 28)
        Standard deviation of the bridge's pictures over draws.
    coverage : float
        Part of the pictures' own latents that lie in the bridge's 90 % intervals, over the latents that pictures use.
    voxels : dict of str to VoxelPrediction
        Voxels predicted from the pictures by ``VOXEL_METHODS``: the bridge the other way, ridge regression from pixels,
        and the bridge where all pictures are in another order.
    n_latents : list of int
        Latents of the voxels that cross-validation chose in each fold.
    """

    rows: NDArray[np.int64]
    pictures: dict[str, NDArray[np.float32]]
    spread: NDArray[np.float32]
    coverage: float
    voxels: dict[str, VoxelPrediction]
    n_latents: list[int]


def reconstruct_left_out(
    voxels: NDArray[np.floating],
    pictures: NDArray[np.floating],
    vae: VAE,
    *,
    n_folds: int = 10,
    held_out: Sequence[NDArray[np.int64]] | None = None,
    unpaired: bool = True,
    n_draws: int = 100,
    seed: int = 0,
    advance: Callable[[int], None] = lambda n: None,
) -> LeftOut:
    """Leave out one fold of pairs after the other and reconstruct its pictures from its voxels.

    Voxels are standardised over the patterns that the components see; what is constant there tells nothing. Repeats of
    a picture are left out together. Voxels' latents are probabilistic principal components, whose number is the one
    with which pictures' latents that are left out (of the pairs that are not) are the likeliest.

    Parameters
    ----------
    voxels : ndarray (n_pairs, n_voxels)
        Brain patterns.
    pictures : ndarray (n_pairs, 28, 28)
        Pictures seen, in [0, 1].
    vae : VAE
        Model of the pictures.
    n_folds : int
        Folds, drawn at random; as many as there are pictures leave out one at a time.
    held_out : sequence of ndarray of int64, optional
        Pairs that are left out together, in the place of folds that are drawn: such as those of each run. Others that
        show the same pictures are not learned from.
    unpaired : bool
        Whether the principal components see the patterns of the pairs left out, as unpaired data: never their
        pictures. If not, the other patterns are cross-fitted (each is replaced by its projection on components of
        others), as components fit the patterns that made them better than a new one. The controls need no components.
    n_draws : int
        Draws for intervals.
    seed : int
        Seed of folds and draws.
    advance : callable
        Told of every fold done.

    Returns
    -------
    LeftOut
        Predictions of every pair.

    Raises
    ------
    DataError
        If voxels and pictures do not belong together or are too few.
    """
    raw, y = _checked(voxels, pictures)
    shown = number_rows(pictures)
    flat = y.flatten(1).numpy()
    with torch.inference_mode():
        posterior = vae.posterior(y).base_dist
        noise = torch.randn(posterior.mean.shape, generator=torch.Generator().manual_seed(seed))
        own = (posterior.mean + posterior.stddev * noise).numpy()
    means, used = posterior.mean.numpy(), (posterior.stddev.mean(dim=0) < USED).numpy()
    made = {name: np.zeros(y.shape, np.float32) for name in METHODS}
    spread = np.zeros(y.shape, np.float32)
    back = {name: np.zeros((len(y), len(y)), np.float32) for name in (*VOXEL_METHODS, "mean")}
    inside, chosen = [], []
    rng = np.random.default_rng(seed)
    everything = _standardised(raw, slice(None))
    components: dict[int, ProbabilisticPCA] | None = {} if unpaired else None
    folds = held_out if held_out is not None else _folds(shown, n_folds, rng)
    rows = np.sort(np.concatenate(folds))
    elsewhere = y[_shuffled(shown, rows, seed)]
    for left_out in folds:
        rest = np.flatnonzero(~np.isin(shown, shown[left_out]))
        if len(rest) < FEWEST_PAIRS:
            raise DataError(
                f"Expected {FEWEST_PAIRS} pairs or more to learn from, received {len(rest)} that show none of the "
                f"{len(left_out)} pictures left out."
            )
        x = everything if unpaired else _standardised(raw, rest)
        bridge, paired = _fit_bridge(x, rest, y[rest], shown[rest], vae, seed, components)
        chosen.append(bridge.source.n_latent_)  # type: ignore[attr-defined]
        made["bridge"][left_out] = bridge.predict(x[left_out]).numpy()
        draws = bridge.draw_latents(x[left_out], n_draws)  # (draws, n, n_latent)
        # Widened by what pairs left out inside the fold called for.
        wider = torch.tensor(bridge.chosen_["spread"]).clamp(min=1)
        draws = draws.mean(dim=0) + wider * (draws - draws.mean(dim=0))
        low, high = (draws.quantile(q, dim=0).numpy() for q in ((1 - INTERVAL) / 2, (1 + INTERVAL) / 2))
        inside.append(((own[left_out] > low) & (own[left_out] < high))[:, used])
        with torch.inference_mode():
            spread[left_out] = vae.likelihood(draws).mean.std(dim=0).numpy()
        # Voxels are what is predicted here: those left out must not have made the components. Many of these do no harm.
        others = ProbabilisticPCA(_most_latents(x, rest)).fit(x[rest])
        groups, cells = torch.from_numpy(shown[rest]), np.ix_(left_out, rest)
        back["bridge"][cells] = _weights_back(vae, others, y, x, rest, left_out, groups, seed)
        back["shuffled pairs"][cells] = _weights_back(vae, others, elsewhere, x, rest, left_out, groups, seed)
        back["ridge"][cells] = _ridge_weights(flat, x.numpy(), rest, left_out, shown)
        back["mean"][cells] = 1 / len(rest)
        shuffled = torch.from_numpy(rng.permutation(rest))
        wrong = LatentBridge(bridge.source, vae, seed=seed).fit((paired, y[shuffled]), groups=groups)
        made["shuffled pairs"][left_out] = wrong.predict(x[left_out]).numpy()
        made["mean picture"][left_out] = flat[rest].mean(axis=0).reshape(y.shape[1:])
        made["ridge to pixels"][left_out] = _ridge(x, flat, rest, left_out, shown).reshape(-1, *y.shape[1:]).clip(0, 1)
        latents = torch.from_numpy(_ridge(x, means, rest, left_out, shown))
        with torch.inference_mode():
            made["ridge to latents"][left_out] = vae.likelihood(latents).mean.numpy()
        advance(1)
    made = {name: values[rows] for name, values in made.items()}
    ways = {name: VoxelPrediction(rows, back[name][rows], back["mean"][rows]) for name in VOXEL_METHODS}
    return LeftOut(rows, made, spread[rows], float(np.concatenate(inside).mean()), ways, chosen)


def _folds(shown: NDArray[np.int64], n_folds: int, rng: np.random.Generator) -> list[NDArray[np.int64]]:
    """Deal pictures to folds at random, with all their repeats."""
    n_pictures = int(shown.max()) + 1
    if not 2 <= n_folds <= n_pictures:
        raise DataError(f"Expected 2 to {n_pictures} folds, one for each picture that differs; received {n_folds}.")
    return [np.flatnonzero(np.isin(shown, part)) for part in np.array_split(rng.permutation(n_pictures), n_folds)]


def _checked(voxels: NDArray[np.floating], pictures: NDArray[np.floating]) -> tuple[torch.Tensor, torch.Tensor]:
    """Check arrays and give them as tensors."""
    if len(voxels) != len(pictures):
        raise DataError(
            f"Every brain pattern needs its picture: received {len(voxels)} patterns, {len(pictures)} pictures."
        )
    if voxels.ndim != 2 or voxels.shape[1] < 3 or pictures.shape[1:] != (28, 28):
        raise DataError(
            "Expected patterns (n, n_voxels) of 3 voxels or more and pictures (n, 28, 28), received "
            f"{voxels.shape} and {pictures.shape}."
        )
    x, y = (np.ascontiguousarray(array, dtype=np.float32) for array in (voxels, pictures))
    return torch.from_numpy(x), torch.from_numpy(y)


def _standardised(x: torch.Tensor, rows: NDArray[np.int64] | slice) -> torch.Tensor:
    """Standardise voxels by the mean and spread of some patterns; what is constant there becomes 0."""
    mean, spread = x[rows].mean(dim=0), x[rows].std(dim=0)
    return torch.where(spread > 0, (x - mean) / torch.where(spread > 0, spread, 1), 0)


def _fit_bridge(
    x: torch.Tensor,
    rest: NDArray[np.int64],
    pictures: torch.Tensor,
    shown: NDArray[np.int64],
    vae: VAE,
    seed: int,
    components: dict[int, ProbabilisticPCA] | None,
) -> tuple[LatentBridge, torch.Tensor]:
    """Fit the bridge whose number of voxel latents makes the pictures' latents that are left out the likeliest.

    Components of all patterns are the same in every fold, and kept in ``components``; None: those of the rest alone.
    Gives the bridge and the patterns of the pairs as it learned from them.
    """
    best: tuple[float, LatentBridge, torch.Tensor] | None = None
    most = _most_latents(x, rest)
    for n in [n for n in N_LATENTS if n <= most] or [most]:
        if components is None:
            paired, source = _cross_fitted(x[rest], shown, n, seed), ProbabilisticPCA(n).fit(x[rest])
        else:
            paired = x[rest]
            source = components.get(n) or components.setdefault(n, ProbabilisticPCA(n).fit(x))
        bridge = LatentBridge(source, vae, seed=seed).fit((paired, pictures), groups=torch.from_numpy(shown))
        if best is None or bridge.chosen_["score"] > best[0]:
            best = bridge.chosen_["score"], bridge, paired
    assert best is not None
    return best[1], best[2]


def _most_latents(x: torch.Tensor, rest: NDArray[np.int64]) -> int:
    """Give the most components that patterns (n_pairs, n_voxels) of the rest can tell."""
    return min(len(rest) // 2, x.shape[1] - 2)


def _cross_fitted(x: torch.Tensor, shown: NDArray[np.int64], n_latent: int, seed: int) -> torch.Tensor:
    """Replace each pattern by its projection on the components of patterns of other pictures."""
    fitted = torch.empty_like(x)
    for part in np.array_split(np.random.default_rng(seed).permutation(np.unique(shown)), CROSS_FITS):
        held_out = np.isin(shown, part)
        if held_out.any():
            model = ProbabilisticPCA(n_latent).fit(x[~held_out])
            axes = torch.linalg.qr(model.loadings_).Q
            fitted[held_out] = model.mean_ + (x[held_out] - model.mean_) @ axes @ axes.T
    return fitted


def _shuffled(shown: NDArray[np.int64], rows: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """Give for each pair (n,) one that shows another picture, the same for repeats; test pairs keep to themselves."""
    rng = np.random.default_rng((seed, 1))
    order = np.arange(len(shown))
    for part in (rows, np.flatnonzero(~np.isin(shown, shown[rows]))):
        _, firsts, numbers = np.unique(shown[part], return_index=True, return_inverse=True)
        circle = rng.permutation(len(firsts))  # each picture takes the place of the next, so that none keeps its own
        follows = np.empty_like(circle)
        follows[circle] = np.roll(circle, 1)
        order[part] = part[firsts[follows][numbers]]
    return order


def _weights_back(
    vae: VAE,
    components: ProbabilisticPCA,
    pictures: torch.Tensor,
    x: torch.Tensor,
    rest: NDArray[np.int64],
    left_out: NDArray[np.int64],
    groups: torch.Tensor,
    seed: int,
) -> NDArray[np.float32]:
    """Learn the bridge from pictures to voxels; give the weight of each pattern of the rest in those left out.

    What voxels respond to is in the picture: the bridge is linear in what its latents generate.
    """
    bridge = LatentBridge(vae, components, family="linear", seed=seed).fit((pictures[rest], x[rest]), groups=groups)
    # Loadings are themselves products of patterns x, less their mean, and latents z: W = x' z / n.
    wanted, own = bridge.predict_latents(pictures[left_out]), components.posterior(x[rest]).mean
    weights: NDArray[np.float32] = ((wanted @ (own - own.mean(dim=0)).T + 1) / len(rest)).numpy()
    return weights


def _ridge_weights(
    x: NDArray[np.floating],
    y: NDArray[np.floating],
    rest: NDArray[np.int64],
    left_out: NDArray[np.int64],
    shown: NDArray[np.int64],
) -> NDArray[np.float32]:
    """Give the weight that ridge regression gives each y of the rest in those left out.

    Its strength is chosen by leaving out pairs, or pictures, of the rest.
    """
    from sklearn.linear_model import Ridge

    alpha = choose_alpha(x[rest], y[rest], shown[rest], ALPHAS)
    # Predictions are linear in y: those of unit vectors are the weights.
    weights = Ridge(alpha).fit(x[rest].astype(np.float64), np.eye(len(rest))).predict(x[left_out])
    return np.asarray(weights, dtype=np.float32)


def _ridge(
    x: torch.Tensor,
    y: NDArray[np.floating],
    rest: NDArray[np.int64],
    left_out: NDArray[np.int64],
    shown: NDArray[np.int64],
) -> NDArray[np.float32]:
    """Predict by ridge regression."""
    return _ridge_weights(x.numpy(), y, rest, left_out, shown) @ y[rest]


def best_view(pictures: NDArray[np.floating], vae: VAE, views: Sequence[str]) -> tuple[str, dict[str, float]]:
    """Find how pictures must be turned to be what a model knows.

    Parameters
    ----------
    pictures : ndarray (n, 28, 28)
        Pictures in [0, 1].
    vae : VAE
        Model of pictures.
    views : sequence of str
        Names out of ``VIEWS``.

    Returns
    -------
    str
        The view whose pictures the model reconstructs most likely.
    dict of str to float
        Mean bound of the log-likelihood by view, in nats.
    """
    bounds = {}
    with torch.inference_mode():
        for name in views:
            x = torch.from_numpy(np.ascontiguousarray(VIEWS[name](pictures), dtype=np.float32))
            q = vae.posterior(x)
            bounds[name] = float((vae.likelihood(q.base_dist.mean).log_prob(x) - vae.divergence(q)).mean())
    return max(bounds, key=bounds.__getitem__), bounds


VIEWS: dict[str, Callable[[NDArray[np.floating]], NDArray[np.floating]]] = {
    "as they are": lambda p: p,
    "transposed": lambda p: p.transpose(0, 2, 1),
    "inverted": lambda p: 1 - p,
    "transposed and inverted": lambda p: 1 - p.transpose(0, 2, 1),
}

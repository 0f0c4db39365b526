"""Make pictures of representations through a latent bridge to a frame model, in the place of PredNet's swap."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from brainpred.errors import DataError
from brainpred.models.bridge import LatentBridge
from brainpred.models.ppca import ProbabilisticPCA
from brainpred.models.vae import VAE
from brainpred.numerics.timing import HeldScans
from brainpred.reconstruction.controls import Representations

__all__ = ["FrameBridge", "bridge_pictures"]

N_LATENTS = (20, 40, 80)  # of representations, tried by cross-validation


class FrameBridge:
    r"""Turn the representations of a scan into a picture, through the latents of both.

    The latents of representations are probabilistic principal components, those of pictures a variational
    autoencoder's; a :class:`brainpred.LatentBridge` joins them. It learns from true representations and the frames that
    were shown: no brain takes part. Ridge regression gives :math:`E[R|\text{brain}]`; a bridge that is linear makes
    :math:`E[z|\text{brain}]` of it.

    Parameters
    ----------
    vae : VAE
        Model of frames.
    seed : int
        Seed of the fit.

    Attributes
    ----------
    bridge_ : LatentBridge
        The bridge.
    """

    def __init__(self, vae: VAE, seed: int = 0):
        self.vae, self.seed = vae, seed

    def fit(
        self,
        representations: Mapping[int, NDArray[np.float32]],
        frames: NDArray[np.uint8],
        advance: Callable[[int], None] = lambda n: None,
    ) -> "FrameBridge":
        """Learn from scans.

        Parameters
        ----------
        representations : mapping of int to ndarray of float32 (n_scans, n_units)
            True representations, by layer. Layers count alike: each is scaled to the same variance over all of its
            units.
        frames : ndarray of uint8 (n_scans, height, width, 3)
            What was on the screen in the middle of each scan.
        advance : callable
            Told of every number of latents that was tried.

        Returns
        -------
        FrameBridge
            This one.

        Raises
        ------
        DataError
            If there are too few scans, or representations and frames cannot be used.
        """
        self._scales = {
            layer: float(np.sqrt(values.var(axis=0, dtype=np.float64).sum())) or 1.0
            for layer, values in representations.items()
        }
        x = self._joined(representations)
        y = torch.from_numpy(frames).permute(0, 3, 1, 2).float() / 255
        most = min(x.shape) - 2
        if most < 1:
            raise DataError(f"A bridge to frames needs 3 scans and 3 units or more, received {tuple(x.shape)}.")
        fitted = []
        for n_latent in [n for n in N_LATENTS if n <= most // 2] or [max(1, most // 2)]:
            source = ProbabilisticPCA(n_latent).fit(x)
            fitted.append(LatentBridge(source, self.vae, seed=self.seed).fit((x, y)))
            advance(1)
        self.bridge_ = max(fitted, key=lambda bridge: bridge.chosen_["score"])
        return self

    def _joined(self, representations: Mapping[int, NDArray[np.float32]]) -> Tensor:
        """Put layers side by side: (n, n_units of all)."""
        parts = [
            representations[layer].reshape(len(representations[layer]), -1) / np.float32(scale)
            for layer, scale in self._scales.items()
        ]
        return torch.from_numpy(np.concatenate(parts, axis=1))

    def latents(self, representations: Mapping[int, NDArray[np.float32]]) -> Tensor:
        """Predict the latents of pictures.

        Parameters
        ----------
        representations : mapping of int to ndarray of float32 (n, ...)
            Representations, by layer.

        Returns
        -------
        Tensor (n, n_latent)
            Mean of the bridge's latents.

        Raises
        ------
        DataError
            If representations hold NaN.
        """
        return self.bridge_.predict_latents(self._joined(representations))

    def pictures(self, latents: Tensor) -> Tensor:
        """Generate the pictures of latents, (n, 3, height, width) in [0, 1]."""
        with torch.inference_mode():
            return self.vae.likelihood(latents).mean


def bridge_pictures(
    bridge: FrameBridge,
    representations: Representations,
    held: HeldScans,
    frames: Iterable[NDArray[np.uint8]],
    drives: Sequence[str] = (),
) -> Iterator[Tensor]:
    """Turn representations into pictures, frame by frame; between two scans, latents go from one to the other.

    It does what :func:`brainpred.reconstruction.swap.generate_pictures` does, but nothing of the movie that was shown
    can enter.

    Parameters
    ----------
    bridge : FrameBridge
        Fitted.
    representations : callable
        Gives the representations of a scan, by layer; see :data:`brainpred.reconstruction.controls.Representations`.
    held : HeldScans
        Scans of each frame.
    frames : iterable of ndarray of uint8
        The movie that was shown; its frames are counted and not looked at.
    drives : sequence of str
        Not needed: there are no error units.

    Yields
    ------
    Tensor (n_movies, 3, height, width)
        Pictures of one frame, in [0, 1], on the CPU.
    """
    latents = lru_cache(maxsize=2)(lambda scan: bridge.latents(representations(scan)))
    last: tuple[int, int, float] | None = None
    pictures = torch.empty(0)
    for _, *place in zip(frames, held.earlier, held.later, held.weight, strict=True):
        earlier, later, weight = int(place[0]), int(place[1]), float(place[2])
        if (earlier, later, weight) != last:
            now = latents(earlier)
            pictures = bridge.pictures(torch.lerp(now, latents(later), weight) if weight else now)
            last = earlier, later, weight
        yield pictures

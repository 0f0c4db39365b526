"""Variational autoencoders of digits, of their labels and of movie frames, with both of their distributions."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.distributions import Bernoulli, Categorical, Distribution, Independent, Normal
from torch.nn import functional

from brainpred.errors import CheckpointError, ConfigError
from brainpred.models.weights_files import find_weights, read_header, write_weights

__all__ = ["DATA", "SHIPPED", "VAE", "VAEConfig", "load_vae", "save_vae"]

SHIPPED = ("digits", "digits_3_epochs", "labels")
DATA = ("digits", "labels", "frames")
DIGIT = 28  # pixels a side
N_LABELS = 10
LEAST_SPREAD = 1e-3  # standard deviation of a posterior: what is narrower is a point for every purpose here


@dataclass(frozen=True)
class VAEConfig:
    """Say what a variational autoencoder is built of.

    Attributes
    ----------
    data : {"digits", "labels", "frames"}
        Pictures of 28 x 28 pixels, labels 0 to 9, or colour frames.
    n_latent : int
        Latent dimensions.
    hidden : tuple of int
        Units of the dense layers between data and latents; for frames, channels of convolutions, each of which halves
        the frame. The decoder has the same in reverse.
    size : (int, int)
        Height and width of a frame in pixels, multiples of 2 to the power of ``len(hidden)``.
    """

    data: str
    n_latent: int
    hidden: tuple[int, ...]
    size: tuple[int, int] = (DIGIT, DIGIT)

    def __post_init__(self) -> None:
        if self.data not in DATA:
            raise ConfigError(f"Unknown data {self.data!r} of a VAE. Choose one of: {', '.join(DATA)}.")
        if self.n_latent < 1 or not self.hidden or min(self.hidden) < 1:
            raise ConfigError(
                f"A VAE needs latents and hidden layers of 1 unit or more, received {self.n_latent} and {self.hidden}."
            )
        step = 2 ** len(self.hidden)
        if self.data == "frames" and (min(self.size) < step or any(side % step for side in self.size)):
            raise ConfigError(
                f"{len(self.hidden)} layers halve a frame so often that its sides must be multiples of {step}, "
                f"received {self.size[0]} x {self.size[1]}."
            )


class VAE(nn.Module):
    r"""Hold a generative model :math:`p(z)\,p(x|z)` with its inference :math:`q(z|x)`.

    .. math:: p(z) = N(0, I), \qquad q(z|x) = N(\mu(x), \mathrm{diag}\,\sigma^2(x)),

    where p(x|z) is Bernoulli for every pixel, or a category for labels.

    Parameters
    ----------
    config : VAEConfig
        Sizes.

    References
    ----------
    D. P. Kingma, M. Welling, "Auto-encoding variational Bayes", ICLR 2014.
    """

    def __init__(self, config: VAEConfig):
        super().__init__()
        self.config, self.n_latent = config, config.n_latent
        build = _convolutions if config.data == "frames" else _dense
        self.encoder, self.decoder = build(config)

    def posterior(self, x: Tensor) -> Independent:
        """Infer the latents of data.

        Parameters
        ----------
        x : Tensor (n, 28, 28), (n,) or (n, 3, height, width)
            Pictures or frames of float32 in [0, 1], or labels of int64.

        Returns
        -------
        Independent
            Normal distributions, batch (n,), event (n_latent,).
        """
        if self.config.data == "labels":
            x = functional.one_hot(x, N_LABELS).to(next(self.parameters()).dtype)
        mean, log_spread = self.encoder(x).chunk(2, dim=1)
        return Independent(Normal(mean, log_spread.exp() + LEAST_SPREAD, validate_args=False), 1)

    def likelihood(self, z: Tensor) -> Distribution:
        """Give the distribution of the data that latents generate.

        Parameters
        ----------
        z : Tensor of float32 (..., n_latent)
            Latents.

        Returns
        -------
        Distribution
            Batch (...); of labels, or of pictures as :meth:`posterior` takes them, where a grey of g counts as g times
            white and 1 - g times black.
        """
        logits = self.decoder(z.reshape(-1, self.n_latent))
        logits = logits.reshape(*z.shape[:-1], *logits.shape[1:])
        if self.config.data == "labels":
            return Categorical(logits=logits, validate_args=False)
        n_dimensions = 3 if self.config.data == "frames" else 2
        return Independent(Bernoulli(logits=logits, validate_args=False), n_dimensions)

    def divergence(self, posterior: Independent) -> Tensor:
        r"""Give :math:`KL[q(z|x) \| p(z)]` of posteriors.

        Parameters
        ----------
        posterior : Independent
            As :meth:`posterior` gives them, batch (n,).

        Returns
        -------
        Tensor (n,)
            The divergence, in nats.

        References
        ----------
        Kingma and Welling 2014, appendix B.
        """
        q = posterior.base_dist
        return (0.5 * (q.mean.square() + q.variance - 1) - q.stddev.log()).sum(dim=1)


def _dense(config: VAEConfig) -> tuple[nn.Module, nn.Module]:
    """Build encoder and decoder of dense layers."""
    shape = (DIGIT, DIGIT) if config.data == "digits" else (N_LABELS,)
    n_data = DIGIT * DIGIT if config.data == "digits" else N_LABELS
    encoder = nn.Sequential(
        nn.Flatten(), *_stack((n_data, *config.hidden)), nn.Linear(config.hidden[-1], 2 * config.n_latent)
    )
    decoder = nn.Sequential(
        *_stack((config.n_latent, *config.hidden[::-1])), nn.Linear(config.hidden[0], n_data), nn.Unflatten(1, shape)
    )
    return encoder, decoder


def _stack(sizes: Sequence[int]) -> list[nn.Module]:
    return [layer for pair in pairwise(sizes) for layer in (nn.Linear(*pair), nn.LeakyReLU(0.2))]


def _convolutions(config: VAEConfig) -> tuple[nn.Module, nn.Module]:
    """Build encoder and decoder of convolutions, each of which halves or doubles the frame."""
    rows, columns = (side // 2 ** len(config.hidden) for side in config.size)
    inner = (config.hidden[-1], rows, columns)
    n_inner = config.hidden[-1] * rows * columns
    down: list[nn.Module] = []
    for n_in, n_out in pairwise((3, *config.hidden)):
        down += [nn.Conv2d(n_in, n_out, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
    up: list[nn.Module] = []
    for n_in, n_out in pairwise((*config.hidden[::-1], 3)):
        up += [nn.LeakyReLU(0.2), nn.ConvTranspose2d(n_in, n_out, 4, stride=2, padding=1)]
    encoder = nn.Sequential(*down, nn.Flatten(), nn.Linear(n_inner, 2 * config.n_latent))
    decoder = nn.Sequential(nn.Linear(config.n_latent, n_inner), nn.Unflatten(1, inner), *up)
    return encoder, decoder


def save_vae(vae: VAE, path: Path | str, *, half: bool = False) -> None:
    """Write the weights as safetensors, with the sizes in the header.

    Parameters
    ----------
    vae : VAE
        Network to save.
    path : Path or str
        File to write.
    half : bool
        Store float16 in place of float32: half the size.
    """
    write_weights(vae.state_dict(), path, ("vae", asdict(vae.config)), half=half)


def load_vae(weights: str | Path) -> VAE:
    """Load a trained variational autoencoder.

    Parameters
    ----------
    weights : str or Path
        Name of one that ships (``"digits"``, ``"digits_3_epochs"``, ``"labels"``), or a safetensors file that
        :func:`save_vae` wrote.

    Returns
    -------
    VAE
        For inference (weights of float32 without gradients), on the CPU.

    Raises
    ------
    ConfigError
        If there is no such file or name.
    CheckpointError
        If the file is damaged or holds something else.
    """
    path = find_weights(weights, "VAE", SHIPPED)
    try:
        header = read_header(path, "vae")
        config = VAEConfig(**{**header, "hidden": tuple(header["hidden"]), "size": tuple(header["size"])})
        vae = VAE(config)
        vae.load_state_dict(safetensors.torch.load_file(path))
    except (SafetensorError, ConfigError, KeyError, TypeError, ValueError, RuntimeError, OSError) as error:
        raise CheckpointError(
            f"{path} does not hold VAE weights written by brainpred ({error}). Expected a safetensors file whose "
            "header names the sizes; train or download it again."
        ) from error
    return vae.eval().requires_grad_(False)

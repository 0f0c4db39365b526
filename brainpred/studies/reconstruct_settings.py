"""What can be asked of a reconstruction, and what of it fits together."""

import re
from dataclasses import dataclass

from brainpred.errors import ConfigError
from brainpred.numerics.timing import HOLDS
from brainpred.reconstruction.frames import SETTINGS
from brainpred.reconstruction.swap import check_drive
from brainpred.reconstruction.units import RUNS, VARIANCES

__all__ = ["THROUGH", "ReconstructConfig", "check_config"]

THROUGH = ("swap", "bridge")


@dataclass(frozen=True)
class ReconstructConfig:
    """Say what to reconstruct and how.

    Attributes
    ----------
    subject, dataset : str
        Whose scans.
    layers : tuple of str
        Layers that pictures are made of, all at once.
    through : {"swap", "bridge"}
        What makes pictures of them: PredNet, into which they are swapped, or a latent bridge to a model of frames; see
        :class:`brainpred.reconstruction.bridged.FrameBridge`.
    drive : {"closed-loop", "stimulus"}
        What PredNet's error units see; see :func:`brainpred.reconstruction.swap.generate_pictures`.
    hold : {"nearest", "linear"}
        How one value a scan becomes one a frame; see :func:`brainpred.numerics.timing.hold_scans`.
    variance : {"ridge", "halfway", "matched"}
        Decoded units as the ridge gives them, or with their spread brought half or all of the way to that of the
        training runs; see :func:`brainpred.reconstruction.units.restore_variance`.
    runs : {"test", "train"}
        Held-out clips, or a sample of the training runs, from a decoder that was fitted to them.
    each : bool
        Whether to take every layer alone, one after the other, and show them in one figure.
    n_shifts : int
        Time shifts of the decoded R that make up the null.
    device : {"auto", "cpu", "cuda"}
        Where to compute.
    seed : int
        Seed of the permutations, and of the bridge.
    vae : str or None
        Weights of a model of frames for the bridge; None: one that is trained on the training movies.
    """

    subject: str
    dataset: str = "simulated"
    layers: tuple[str, ...] = ("R0",)
    through: str = SETTINGS["through"]
    drive: str = SETTINGS["drive"]
    hold: str = SETTINGS["hold"]
    variance: str = SETTINGS["variance"]
    runs: str = SETTINGS["runs"]
    each: bool = False
    n_shifts: int = 5
    device: str = "auto"
    seed: int = 0
    vae: str | None = None


def check_config(config: ReconstructConfig) -> None:
    """Raise :class:`ConfigError` if an option cannot be used."""
    check_drive(config.drive)
    for name, choices in (("through", THROUGH), ("hold", HOLDS), ("variance", VARIANCES), ("runs", RUNS)):
        if getattr(config, name) not in choices:
            raise ConfigError(f"Unknown {name} {getattr(config, name)!r}. Choose one of: {', '.join(choices)}.")
    if config.through == "bridge" and config.drive != SETTINGS["drive"]:
        raise ConfigError(f"--drive {config.drive} is for the swap: a bridge has no error units that could be driven.")
    if config.through == "swap" and config.vae:
        raise ConfigError("--vae names a model of frames for the bridge: add --through bridge, or leave it out.")
    if config.n_shifts < 1:
        raise ConfigError(f"The null needs at least 1 time shift, received {config.n_shifts}.")
    unknown = [layer for layer in config.layers if not re.fullmatch(r"R\d+", layer)]
    if unknown or not config.layers:
        received = f"not {', '.join(unknown)}" if unknown else "and at least one must be named"
        raise ConfigError(
            f"Only representations can be swapped, {received}. Choose of: R0, R1, R2, R3, with spaces between."
        )
    if len(set(config.layers)) < len(config.layers):
        raise ConfigError(f"Every layer can be swapped once, received {' '.join(config.layers)}.")

"""What a latent bridge is made of, and what of it can be asked for."""

from dataclasses import dataclass

from brainpred.errors import ConfigError
from brainpred.models.conditionals import DIVERGENCES

__all__ = ["BASES", "FAMILIES", "BridgeSettings"]

FAMILIES = ("joint", "gaussian", "mixture", "linear")
BASES = ("conditional", "standard", "pairs")


@dataclass(frozen=True)
class BridgeSettings:
    """Hold the options of :class:`brainpred.LatentBridge`, which explains them.

    Attributes
    ----------
    family, divergence, base : str
        What the conditional is, what is minimised, where draws begin.
    guidance : float
        Weight of the opposite conditional.
    guide : str
        Family of the opposite conditional.
    n_components, updates, seed : int
        Of networks; of all that is random.

    Raises
    ------
    ConfigError
        If one cannot be used.
    """

    family: str
    divergence: str
    base: str
    guidance: float
    guide: str
    n_components: int
    updates: int
    seed: int

    def __post_init__(self) -> None:
        allowed = {"family": FAMILIES, "guide": FAMILIES, "divergence": DIVERGENCES, "base": BASES}
        for what, choices in allowed.items():
            if getattr(self, what) not in choices:
                raise ConfigError(
                    f"Unknown {what} {getattr(self, what)!r} of a bridge. Choose one of: {', '.join(choices)}."
                )
        if self.divergence == "reverse" and self.family not in ("gaussian", "mixture"):
            raise ConfigError(
                f"The family {self.family!r} is fitted by the forward divergence; reverse is for networks."
            )
        if not self.guidance >= 0 or (self.guidance == 0 and self.base != "conditional"):
            raise ConfigError(
                f"guidance must be above 0 where the base is {self.base!r}, and never below it; received "
                f"{self.guidance}."
            )
        if self.n_components < 1 or self.updates < 1:
            raise ConfigError(
                f"n_components and updates must be 1 or more, received {self.n_components} and {self.updates}."
            )

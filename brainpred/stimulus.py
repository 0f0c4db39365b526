"""What is on the screen, and when: movies as excerpts of files on the clock of a run."""

import math
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from brainpred.errors import ConfigError

__all__ = ["Excerpt", "Movie"]

# FILE[::DATA_SET][@FRAMES_PER_S][[FROM:TO]], the last in seconds.
_ADDRESS = re.compile(
    r"(?P<path>.+?)(?:::(?P<data_set>[^@\[\]]+))?(?:@(?P<fps>\d+(?:\.\d+)?))?"
    r"(?:\[(?P<begin>\d*(?:\.\d+)?):(?P<end>\d*(?:\.\d+)?)\])?"
)


@dataclass(frozen=True)
class Excerpt:
    """A stretch of a movie file, and when it is shown.

    Attributes
    ----------
    path : Path
        Video file, folder of pictures, or file of frames (``.npy``, HDF5, MATLAB v7.3).
    onset_s : float
        When it begins, in seconds from the first scan; what lies before 0 is left out.
    duration_s : float
        How long it is shown; infinity: to its end.
    from_s : float
        Time within the file at which it begins.
    data_set : str
        Name of the array in an HDF5 file that holds several; empty where it holds one.
    fps : float or None
        Frames per second of pictures and arrays, which do not state them.
    """

    path: Path
    onset_s: float = 0.0
    duration_s: float = math.inf
    from_s: float = 0.0
    data_set: str = ""
    fps: float | None = None

    def __post_init__(self) -> None:
        if not (self.duration_s > 0 and self.from_s >= 0 and math.isfinite(self.onset_s)):
            raise ConfigError(
                f"An excerpt of {self.path} must last longer than 0 s, from 0 s on or later; received "
                f"{self.duration_s} s from {self.from_s} s on, shown at {self.onset_s} s."
            )
        if self.fps is not None and not 0 < self.fps < math.inf:
            raise ConfigError(f"{self.path} needs more than 0 frames per second, received {self.fps}.")


@dataclass(frozen=True)
class Movie:
    """All that is shown during a run.

    Attributes
    ----------
    excerpts : tuple of Excerpt
        What is shown, in the order of time.
    duration_s : float or None
        Length of the whole in seconds, where it goes on after its last excerpt (the screen is grey then) or is cut
        before; None: to the end of the last excerpt.
    """

    excerpts: tuple[Excerpt, ...]
    duration_s: float | None = None

    def __post_init__(self) -> None:
        if not self.excerpts:
            raise ConfigError("A movie needs one excerpt or more, received none.")

    @classmethod
    def parse(cls, address: Path | str, fps: float | None = None) -> Self:
        """Read the address of a movie: ``FILE[::DATA_SET][@FRAMES_PER_S][[FROM:TO]]``.

        Parameters
        ----------
        address : Path or str
            Such as ``"street.mp4"``, ``"street.mp4[30:90]"`` (seconds 30 to 90), ``"pictures@25"`` (a folder) or
            ``"Stimuli.mat::st@15[0:600]"``. A file whose own name looks so is taken as it is.
        fps : float, optional
            Frames per second where the address states none.

        Returns
        -------
        Movie
            The movie, beginning with the first scan.

        Raises
        ------
        ConfigError
            If the stretch is empty.

        Examples
        --------
        >>> Movie.parse("Stimuli.mat::st@15[0:600]").excerpts[0].duration_s
        600.0
        """
        match = None if Path(address).exists() else _ADDRESS.fullmatch(str(address))
        if match is None:
            return cls((Excerpt(Path(address), fps=fps),))
        begin, end = float(match["begin"] or 0), float(match["end"] or math.inf)
        own = float(match["fps"]) if match["fps"] else fps
        return cls((Excerpt(Path(match["path"]), 0.0, end - begin, begin, match["data_set"] or "", own),))

    @property
    def name(self) -> str:
        """Name for messages and files: that of the first file."""
        return self.excerpts[0].path.name

    @property
    def stem(self) -> str:
        """The name without its suffix."""
        return self.excerpts[0].path.stem

    def shifted(self, seconds: float) -> Self:
        """Give the same movie begun later, or with a negative number earlier, in the run."""
        moved = tuple(replace(excerpt, onset_s=excerpt.onset_s + seconds) for excerpt in self.excerpts)
        return replace(self, excerpts=moved, duration_s=self.duration_s and self.duration_s + seconds)

"""What is on the screen, and when: movies as excerpts of files on the clock of a run."""

import csv
import math
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from brainpred.errors import ConfigError, DataError

__all__ = ["AnyMovie", "Excerpt", "Movie", "read_clip_list", "stated_duration_s"]

FILE_COLUMNS = ("file", "stim_file")  # the second is BIDS's
LISTS = (".tsv", ".csv")
ABSENT = ("", "n/a")

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
        Video file, folder of pictures, or file of frames (NumPy, HDF5, MATLAB).
    onset_s : float
        When it begins, in seconds from the first scan; what lies before 0 is left out.
    duration_s : float
        How long it is shown; infinity: to its end.
    from_s : float
        Time within the file at which it begins.
    data_set : str
        Name of the array in a file that holds several; empty where it holds one.
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

    @classmethod
    def of(cls, movie: "AnyMovie") -> Self:
        """Give a movie as it is, and read an address."""
        return movie if isinstance(movie, cls) else cls.parse(str(movie))

    @property
    def is_whole_file(self) -> bool:
        """Whether it is one file from beginning to end, shown from the first scan on."""
        (first, *others) = self.excerpts
        return (
            not others
            and self.duration_s is None
            and first == Excerpt(first.path, data_set=first.data_set, fps=first.fps)
        )

    @property
    def is_list(self) -> bool:
        """Whether it is a table of clips that nobody has read yet; see :meth:`listed`."""
        return len(self.excerpts) == 1 and self.excerpts[0].path.suffix.lower() in LISTS

    @property
    def name(self) -> str:
        """Name for messages: that of the first file, and how many others there are."""
        others = len(self.excerpts) - 1
        return self.excerpts[0].path.name + (f" and {others} more" if others else "")

    @property
    def stem(self) -> str:
        """Name for files that are made of it."""
        (first, *others) = self.excerpts
        stretch = "" if math.isinf(first.duration_s) and not first.from_s else f"{first.from_s:g}-{first.duration_s:g}s"
        parts = (first.path.stem, first.data_set.strip("/").replace("/", "_"), stretch, "more" if others else "")
        return "_".join(filter(None, parts))

    def __str__(self) -> str:
        return str(self.excerpts[0].path) + self.name.removeprefix(self.excerpts[0].path.name)

    def shifted(self, seconds: float) -> Self:
        """Give the same movie begun later, or with a negative number earlier, in the run."""
        moved = tuple(replace(excerpt, onset_s=excerpt.onset_s + seconds) for excerpt in self.excerpts)
        return replace(self, excerpts=moved, duration_s=self.duration_s and self.duration_s + seconds)

    def until(self, end_s: float) -> Self:
        """Give the same movie without what it shows after a time of the run.

        Parameters
        ----------
        end_s : float
            Seconds from the first scan.

        Returns
        -------
        Movie
            The excerpts that begin before then, the last one cut. A clip list, and a movie that has not begun by then,
            end at that time as they are.
        """
        kept = tuple(
            replace(excerpt, duration_s=min(excerpt.duration_s, end_s - excerpt.onset_s))
            for excerpt in self.excerpts
            if excerpt.onset_s < end_s
        )
        if self.is_list or not kept:
            return replace(self, duration_s=end_s)
        # Without a length of its own a movie still has to reach the end: a file that is too short is found out.
        return replace(self, excerpts=kept, duration_s=self.duration_s and min(self.duration_s, end_s))

    def listed(self) -> Self:
        """Put the content of a clip list in its place; any other movie stays as it is.

        Returns
        -------
        Movie
            The movie, of excerpts of files that play.

        Raises
        ------
        DataError
            If the list does not exist, is damaged, or only a stretch of it is asked for.
        """
        first = self.excerpts[0]
        if not self.is_list:
            return self
        if not first.path.is_file():
            raise DataError(f"Movie {first.path} does not exist.")
        if replace(first, onset_s=0.0, fps=None) != Excerpt(first.path):
            raise DataError(
                f"Clip list {first.path} is shown whole: change its rows instead of naming a stretch of it."
            )
        shown = read_clip_list(first.path, fps=first.fps).shifted(first.onset_s)
        return replace(self, excerpts=shown.excerpts)


AnyMovie = Movie | Path | str


def stated_duration_s(duration_s: float) -> float:
    """Tell how long a clip is shown whose table may state nothing: ``n/a``, or the 0 of an event that has no length.

    Parameters
    ----------
    duration_s : float
        What the table states, in seconds; NaN where it states nothing.

    Returns
    -------
    float
        The same, or infinity for 0 and NaN: to the end of the file.
    """
    return math.inf if duration_s == 0 or math.isnan(duration_s) else duration_s


def read_clip_list(path: Path | str, folder: Path | str | None = None, fps: float | None = None) -> Movie:
    """Read what is shown when from a table: BIDS events, or a list written by hand.

    Parameters
    ----------
    path : Path or str
        Table (TSV, or CSV with commas) with the columns ``onset``, ``duration`` (seconds; 0 or ``n/a``: to the end of
        the file) and ``file`` or ``stim_file``; optionally ``offset`` (seconds within the file at which it begins). A
        file may be any address that :meth:`Movie.parse` reads. Rows without a file (``n/a``) are other events and left
        out.
    folder : Path or str, optional
        Folder that files are relative to; the table's own by default.
    fps : float, optional
        Frames per second of pictures and arrays whose address states none.

    Returns
    -------
    Movie
        The movie, its excerpts in the order of time.

    Raises
    ------
    DataError
        If columns are missing, a number is none, or no row names a file.
    """
    path = Path(path)
    try:
        with open(path, newline="", encoding="utf-8-sig") as stream:
            rows = list(csv.DictReader(stream, delimiter="," if path.suffix.lower() == ".csv" else "\t"))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"Clip list {path} cannot be read: {error}.") from error
    columns = list(rows[0]) if rows else []
    column = next((name for name in FILE_COLUMNS if name in columns), None)
    if column is None or not {"onset", "duration"} <= set(columns):
        raise DataError(
            f"Clip list {path} must have the columns onset, duration and file (or stim_file), found "
            f"{', '.join(filter(None, columns)) or 'no rows'}."
        )
    excerpts = []
    for number, row in enumerate(rows, 2):
        if (row[column] or "").strip() in ABSENT:
            continue
        try:
            onset_s, duration_s, offset_s = (
                float(default if (row.get(name) or "").strip() in ABSENT else str(row[name]))
                for name, default in (("onset", "nan"), ("duration", "inf"), ("offset", "0"))
            )
            (shown,) = Movie.parse(Path(folder or path.parent) / row[column].strip(), fps).excerpts
            excerpts.append(
                replace(
                    shown,
                    onset_s=onset_s,
                    duration_s=min(stated_duration_s(duration_s), shown.duration_s),
                    from_s=shown.from_s + offset_s,
                )
            )
        except (ValueError, TypeError) as error:
            raise DataError(f"Clip list {path}, line {number}: {error}") from error
    if not excerpts:
        raise DataError(f"Clip list {path} names no file in its column {column}: every row is n/a.")
    return Movie(tuple(sorted(excerpts, key=lambda excerpt: excerpt.onset_s)))

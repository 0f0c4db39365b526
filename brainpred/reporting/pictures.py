"""Collect the figures of a page: as files beside it, with their numbers, and as what the page holds."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from brainpred.errors import BrainpredError
from brainpred.reporting.saved import Picture, data_uri
from brainpred.reporting.style import save_figure
from brainpred.storage import write_table

__all__ = ["Pictures"]

ENDINGS = (".png", ".svg", ".tsv")


@dataclass
class Pictures:
    """Collect the figures of a page as they are drawn; a figure that fails leaves its reason."""

    folder: Path
    drawn: dict[str, Picture] = field(default_factory=dict)
    written: set[Path] = field(default_factory=set)

    def draw(
        self,
        name: str,
        make: Callable[[], Figure],
        numbers: Mapping[str, Callable[[], pd.DataFrame]] | None = None,
        *,
        finding: str = "",
    ) -> None:
        """Draw a figure, and write it as PNG and SVG, and what numbers of it no other table holds as TSV, by name.

        What can be seen in it is told to those who cannot.
        """
        stem = _file_name(name)
        files = {self.folder / f"{stem}.png", self.folder / f"{stem}.svg"}
        try:
            figure = make()
            for path in sorted(files):
                save_figure(figure, path)
            for table, tabulate in (numbers or {}).items():
                files.add(self.folder / f"{_file_name(table)}.tsv")
                write_table(self.folder / f"{_file_name(table)}.tsv", tabulate())
            self.drawn[name] = Picture(name, data_uri(self.folder / f"{stem}.png", "image/png"), finding=finding)
            self.written |= files
        except Exception as error:  # whatever is wrong with one figure must not lose the page
            self.fail(name, error)

    def fail(self, name: str, error: Exception) -> None:
        """Put the reason in the place of a figure."""
        # The project's own errors say what to do; of others the kind tells more than the words.
        told = str(error) if isinstance(error, BrainpredError) else f"{type(error).__name__}: {error}"
        self.drawn[name] = Picture(name, problem=told)

    def tell(self, name: str, note: str) -> None:
        """Say in the place of a figure why there is nothing to be drawn."""
        self.drawn[name] = Picture(name, note=note)

    def forget_others(self) -> None:
        """Remove figures and tables of older runs, lest they stand beside new ones."""
        for path in self.folder.iterdir():
            if path.suffix in ENDINGS and path not in self.written:
                path.unlink()


def _file_name(name: str) -> str:
    return re.sub(r"[^\w.+-]", "_", name)

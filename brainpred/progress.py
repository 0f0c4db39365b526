"""Show what is being done, how far it is and how long it will take (rich), or nothing at all."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

__all__ = ["SILENT", "Reporter", "RichReporter", "SilentReporter"]


class Reporter(Protocol):
    """What a study tells its progress to."""

    def task(self, description: str, total: int) -> AbstractContextManager[Callable[[float], None]]:
        """Open a bar of ``total`` steps; the function given moves it on by so many steps."""
        ...

    def say(self, message: str) -> None:
        """Print one line."""
        ...


class SilentReporter:
    """Report nothing: what a library call and ``--quiet`` use."""

    @contextmanager
    def task(self, description: str, total: int) -> Iterator[Callable[[float], None]]:
        """Open no bar."""
        yield lambda steps: None

    def say(self, message: str) -> None:
        """Print nothing."""


SILENT = SilentReporter()


class RichReporter:
    """Report to a terminal with bars that show the time left; to a file, one line a finished task.

    Parameters
    ----------
    console : rich.console.Console, optional
        Where to print; standard error by default, so that results can be piped.
    """

    def __init__(self, console: Console | None = None):
        self.console = console or Console(stderr=True)
        self._progress: Progress | None = None

    @contextmanager
    def task(self, description: str, total: int) -> Iterator[Callable[[float], None]]:
        """Show a bar until the block ends; the bars of tasks inside of tasks stand below each other, then go."""
        outermost = self._progress is None
        if self._progress is None:
            self._progress = Progress(
                TextColumn("{task.description:<34}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
                console=self.console,
            )
            self._progress.start()
        progress = self._progress
        number = progress.add_task(("" if outermost else "  ") + description, total=total)
        try:
            yield lambda steps: progress.advance(number, steps)
        finally:
            if outermost:
                progress.stop()
                self._progress = None
            else:
                progress.remove_task(number)

    def say(self, message: str) -> None:
        """Print one line."""
        self.console.print(message, highlight=False)

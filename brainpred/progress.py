"""Show what is being done, how far it is and how long it will take (rich), or nothing at all."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

__all__ = ["SILENT", "Reporter", "RichReporter", "SilentReporter"]


class Reporter(Protocol):
    """What a study tells its progress to."""

    def task(self, description: str, total: int) -> AbstractContextManager[Callable[[int], None]]:
        """Open a bar of ``total`` steps; the function given moves it on by so many steps."""
        ...

    def say(self, message: str) -> None:
        """Print one line."""
        ...


class SilentReporter:
    """Report nothing: what a library call and ``--quiet`` use."""

    @contextmanager
    def task(self, description: str, total: int) -> Iterator[Callable[[int], None]]:
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

    @contextmanager
    def task(self, description: str, total: int) -> Iterator[Callable[[int], None]]:
        """Show a bar until the block ends."""
        columns = (
            TextColumn("{task.description:<34}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=self.console) as progress:
            number = progress.add_task(description, total=total)
            yield lambda steps: progress.advance(number, steps)

    def say(self, message: str) -> None:
        """Print one line."""
        self.console.print(message, highlight=False)

"""Download a file whole and checked, or go on later where it stopped."""

import logging
import os
from collections.abc import Callable
from pathlib import Path

import pooch
import requests

from brainpred.errors import DataError
from brainpred.recordings.manifest import Download

__all__ = ["download_file"]

TIMEOUT_S = 30  # without a sign from the other side
CHUNK = 2**16  # bytes
PARTIAL = 206  # the HTTP status of a file that is gone on with
BEYOND_END = 416


def download_file(download: Download, path: Path, advance: Callable[[float], None]) -> None:
    """Download a file; under its name it appears only when it is whole and has the right checksum.

    What has come of a download that broke off lies beside it as ``.part-<name>``; the next one goes on from there,
    where the server can.

    Parameters
    ----------
    download : Download
        What to download.
    path : Path
        File to write, in a folder that exists.
    advance : callable
        Moves a bar of 100 steps.

    Raises
    ------
    DataError
        If the network fails, or gives something else than expected.
    """
    pooch.get_logger().setLevel(logging.WARNING)  # the reporter tells what is going on
    part = path.with_name(f".part-{path.name}")

    def fill(url: str, output_file: Path | str, _pooch: object) -> None:
        _append(url, part, advance)
        os.replace(part, output_file)

    by_hand = f"Try again later, or get {path.name} another way and put it into {path.parent} by hand."
    try:
        pooch.retrieve(download.url, f"sha256:{download.sha256}", fname=path.name, path=path.parent, downloader=fill)
    except OSError as error:  # the network's, as requests raises them, or the disk's
        raise DataError(f"Cannot download {download.url} ({_innermost(error)}). {by_hand}") from error
    except ValueError as error:
        raise DataError(
            f"{download.url} gave another file than expected ({str(error).partition(' Deleted')[0]}) {by_hand}"
        ) from error
    path.chmod(path.parent.stat().st_mode & 0o666)  # as open to others as the folder; pooch leaves it private


def _append(url: str, part: Path, advance: Callable[[float], None]) -> None:
    """Get what is missing of a file, or all of it where the server gives no parts."""
    n_there = part.stat().st_size if part.is_file() else 0
    # Compressed on the way, a part would not fit to what is there.
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={n_there}-"} if n_there else {})
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT_S) as answer:
        if answer.status_code == BEYOND_END:  # all is there, or what is there is of another file
            return
        answer.raise_for_status()
        n_there = n_there if answer.status_code == PARTIAL else 0
        n_all = n_there + int(answer.headers.get("Content-Length", 0))
        if n_all > n_there:
            advance(100 * n_there / n_all)
        try:
            with open(part, "ab" if n_there else "wb") as stream:
                for chunk in answer.iter_content(CHUNK):
                    stream.write(chunk)
                    if n_all > n_there:
                        advance(100 * len(chunk) / n_all)
        finally:
            if part.is_file() and not part.stat().st_size:
                part.unlink()


def _innermost(error: BaseException) -> BaseException:
    """Find what began it, such as a refused connection: libraries wrap it several times."""
    while error.__context__ is not None:
        error = error.__context__
    return error

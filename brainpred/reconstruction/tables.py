"""The tables of reconstructions: written, added to, read, laid out."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from brainpred.errors import DataError
from brainpred.reconstruction.controls import Arm
from brainpred.reconstruction.frames import SETTINGS, Clip
from brainpred.reconstruction.metrics import FRAME_METRICS
from brainpred.reconstruction.scoring import METRICS, ClipScores
from brainpred.storage import atomic_path, write_table

__all__ = ["KEYS", "METRIC_NAMES", "gain_table", "merge_scores", "picture_table", "read_scores", "write_frame_scores"]

# Settings that a row of the table belongs to, besides the picture and the metric.
KEYS = ("layers", *SETTINGS)
# What readers call the scores, in the order of tables.
METRIC_NAMES = {
    "ssim": "SSIM",
    "pixel_r": "pixel r",
    "psnr": "PSNR",
    "motion_r": "motion r",
    "identification_2way": "2-way",
    "identification_10way": "10-way",
}
NUMBERS = (
    "score",
    "low",
    "high",
    "gain",
    "gain_low",
    "gain_high",
    "gain_p",
    "null_p",
    "block_s",
    "n_blocks",
    "n_shifts",
)


def write_frame_scores(path: Path, arms: Sequence[Arm], clips: Sequence[Clip], scores: Sequence[ClipScores]) -> None:
    """Write the scores of every frame as TSV, a row a frame and picture.

    Parameters
    ----------
    path : Path
        The file.
    arms : sequence of Arm
        What was generated; shifts are left out.
    clips : sequence of Clip
        The clips.
    scores : sequence of ClipScores
        Their scores.
    """
    shown = [arm.name for arm in arms if arm.name != "shifted"]
    tables = []
    for clip, of_clip in zip(clips, scores, strict=True):
        n_frames = len(clip.times_s)
        table = pd.DataFrame(of_clip.frames.reshape(-1, len(FRAME_METRICS)), columns=list(FRAME_METRICS))
        frame = np.repeat(np.arange(n_frames), len(shown))
        table.insert(0, "picture", shown * n_frames)
        for name, values in (("scan", clip.scans[frame]), ("time_s", clip.times_s[frame]), ("frame", frame)):
            table.insert(0, name, values)
        table.insert(0, "clip", clip.name)
        tables.append(table)
    with atomic_path(path) as temporary:
        pd.concat(tables).to_csv(temporary, sep="\t", index=False, float_format="%.7g", na_rep="n/a")


def merge_scores(path: Path, table: pd.DataFrame) -> None:
    """Add rows to the table on disk, in the place of those with the same settings.

    Parameters
    ----------
    path : Path
        ``reconstruction.tsv``, which need not exist.
    table : DataFrame
        Scores with the columns ``KEYS``.
    """
    if path.is_file():
        before = read_scores(path)
        same = before[list(KEYS)].apply(tuple, axis=1).isin(table[list(KEYS)].apply(tuple, axis=1))
        table = pd.concat([before[~same], table], ignore_index=True) if not same.all() else table
    write_table(path, table)


def read_scores(path: Path) -> pd.DataFrame:
    """Read ``reconstruction.tsv``, which may have been changed by hand.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    DataFrame
        Scores, a row a picture and metric.

    Raises
    ------
    DataError
        If it cannot be read or lacks columns.
    """
    try:
        table = pd.read_csv(path, sep="\t", na_values=["n/a", ""], keep_default_na=False)
    except (OSError, ValueError) as error:
        raise DataError(f"Cannot read {path}: {error}. Delete it; the next reconstruction writes it again.") from error
    missing = [name for name in (*KEYS, "data", "picture", "metric", *NUMBERS) if name not in table]
    if missing or table.empty:
        raise DataError(
            f"{path} lacks {', '.join(missing) or 'rows'}. Delete it; the next reconstruction writes it again."
        )
    for name in NUMBERS:
        if table[name].dtype.kind not in "fi":
            raise DataError(f"{path}: {name} holds text. Delete the file; the next reconstruction writes it again.")
    return table


def picture_table(scores: pd.DataFrame) -> pd.DataFrame:
    """Lay scores out with a row a picture and a column a metric.

    Parameters
    ----------
    scores : DataFrame
        As :func:`brainpred.reconstruct_subject` gives them.

    Returns
    -------
    DataFrame
        Settings, picture, and the scores.
    """
    wide = scores.pivot_table("score", [*KEYS, "data", "picture"], "metric", sort=False, dropna=False)
    return wide.reset_index().dropna(how="all", subset=list(METRICS))


def gain_table(scores: pd.DataFrame) -> pd.DataFrame:
    """Say what the brain adds to the pictures, with 95 % intervals and p against the null.

    Parameters
    ----------
    scores : DataFrame
        As :func:`brainpred.reconstruct_subject` gives them.

    Returns
    -------
    DataFrame
        The rows of what was decoded, with the interval of the gain as text.
    """
    rows = scores[scores["picture"] == "decoded"].copy()
    rows["interval"] = [
        f"{low:+.3f} … {high:+.3f}" for low, high in zip(rows["gain_low"], rows["gain_high"], strict=True)
    ]
    return rows.reset_index(drop=True)

"""Write one number a voxel as a map in the space of the scans."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from brainpred.errors import DataError
from brainpred.numerics.autocorrelation import FEW_BLOCKS, uncertainty_of_spread
from brainpred.progress import Reporter
from brainpred.recordings.recording import Recording
from brainpred.storage import read_json

__all__ = ["forget_encoding", "forget_map", "tell_chance", "write_map"]

# With fewer permutations p cannot be below 0.001, and few of many units can be found.
FEW_PERMUTATIONS = 1000
MAP_ENDINGS = (".nii.gz", "_hemi-L.func.gii", "_hemi-R.func.gii", ".dscalar.nii", ".tsv")


def write_map(stem: Path, recording: Recording, values: NDArray[np.floating], what: str) -> list[str]:
    """Write one number a voxel in the space of the scans, in place of an older map; give the names of its files.

    Parameters
    ----------
    stem : Path
        File name without its ending.
    recording : Recording
        The scans.
    values : ndarray (n_voxels,)
        Numbers.
    what : str
        What they are; the image says so, and whether the scans were simulated.

    Returns
    -------
    list of str
        Names of the files; see :meth:`brainpred.recordings.recording.Recording.write_map`.
    """
    forget_map(stem)
    description = f"simulated: {what}" if recording.simulated else what
    return [path.name for path in recording.write_map(stem, values, description)]


def forget_map(stem: Path) -> None:
    """Remove a map of whatever kind: the scans may have been of another kind before."""
    for ending in MAP_ENDINGS:
        stem.with_name(f"{stem.name}{ending}").unlink(missing_ok=True)


def forget_encoding(folder: Path, data_key: str) -> bool:
    """Remove what ``brainpred encode`` wrote of other scans, features or cleaning; tell whether there was any.

    Parameters
    ----------
    folder : Path
        Folder for results.
    data_key : str
        Fingerprint of the data that results are about to be written of.

    Returns
    -------
    bool
        Whether anything was removed.
    """
    settings = folder / "encode.json"
    if not settings.is_file():
        return False
    try:
        if read_json(settings).get("data_key") == data_key:
            return False
    except DataError:  # of which nobody can tell what it belongs to
        pass
    pictures = folder / "figures"
    for stale in (*folder.glob("encod*"), *pictures.glob("encoding*"), *pictures.glob("surface_encoding*")):
        stale.unlink()
    return True


def tell_chance(block_length: int, wanted_length: int, n_blocks: int, n_permutations: int, reporter: Reporter) -> None:
    """Say what makes p uncertain: runs too short for the blocks that are wanted, few blocks, and few permutations.

    Parameters
    ----------
    block_length, wanted_length : int
        Scans of a block, and as many as its autocorrelation asks for.
    n_blocks : int
        Blocks.
    n_permutations : int
        Permutations.
    reporter : Reporter
        Where it is said.
    """
    if block_length < wanted_length:
        reporter.say(
            f"Note: blocks of {wanted_length} scans are wanted, but the held-out runs are too short: blocks have "
            f"{block_length}, and p is rather too small."
        )
    if n_blocks < FEW_BLOCKS:
        reporter.say(
            f"Note: {n_blocks} blocks of time are few. The width of intervals is itself uncertain by about "
            f"{100 * uncertainty_of_spread(n_blocks):.0f} %, and p is coarse. More held-out scans are the remedy."
        )
    if n_permutations < FEW_PERMUTATIONS:
        reporter.say(
            f"Note: with {n_permutations} permutations no p is below {1 / (1 + n_permutations):.1g}. Use "
            f"{FEW_PERMUTATIONS} or more for results that are to be shown."
        )

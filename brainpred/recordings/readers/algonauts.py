"""Read the responses of the Algonauts Project 2021: a pickle a region, of videos by repeats by voxels."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from brainpred.errors import DataError, ManifestError
from brainpred.recordings.fetch import check_inside, dataset_file, dataset_folder
from brainpred.recordings.manifest import Manifest
from brainpred.recordings.pickles import read_arrays
from brainpred.recordings.readers.options import ReaderOptions, read_options
from brainpred.recordings.recording import Recording, Run
from brainpred.recordings.selection import select_voxels
from brainpred.recordings.spaces import UNPLACED, NoSpace, Space, Volume
from brainpred.recordings.volumes import open_image
from brainpred.stimulus import Excerpt, Movie

__all__ = ["AlgonautsOptions", "read"]

MASK = "voxel_mask"
REFERENCE, VIDEOS = "reference", "videos"


class AlgonautsOptions(ReaderOptions):
    """Say how videos become runs.

    Attributes
    ----------
    videos_per_run : int
        Videos that make up a run, in the order of the responses; the last run may have fewer.
    n_test_runs : int
        Runs at the end that serve for testing.
    """

    videos_per_run: int = Field(default=100, ge=2)
    n_test_runs: int = Field(default=1, ge=0)


def read(manifest: Manifest, subject: str, data: Path | str | None = None) -> Recording:
    """Read a subject.

    The responses are one number a video and voxel, computed from the scans by those who published them. Here a video
    is a scan, and the repetition time the length of a video (3 s): decode with ``--delays 0``. Every repeat of a block
    of videos is a run, and repeats of a block share their stimulus.

    Parameters
    ----------
    manifest : Manifest
        The data set; ``files`` names a pickle for each region (``V1``, ..., or ``WB`` for the whole brain) and perhaps
        ``reference``, an image with the affine of the whole brain's mask; the stimulus ``videos`` is the folder of the
        videos, which sorted by name are those of the responses. Options are those of
        :class:`AlgonautsOptions`.
    subject : str
        The subject.
    data : Path or str, optional
        Folder that holds the data sets.

    Returns
    -------
    Recording
        The responses, all in memory: pickles cannot be read in parts.

    Raises
    ------
    DataError
        If a file is missing, damaged, or holds other things than arrays of numbers.
    """
    options = read_options(manifest, AlgonautsOptions)
    label, again = f"{manifest.name}/{subject}", f"Get it again: {manifest.access}"
    regions = [role for role in manifest.files if role != REFERENCE]
    if not regions:
        raise ManifestError(f"Manifest {manifest.name}: files must name a pickle for each region, such as V1.")
    paths = {role: dataset_file(manifest, manifest.files[role], data, subject=subject) for role in regions}
    arrays = {role: read_arrays(path, label, again) for role, path in paths.items()}
    responses = {role: _responses(content, role, label, again) for role, content in arrays.items()}
    shapes = {role: values.shape[:2] for role, values in responses.items()}
    if len(set(shapes.values())) > 1:
        told = ", ".join(f"{role} {n} videos x {repeats} repeats" for role, (n, repeats) in shapes.items())
        raise DataError(f"{label}: regions differ in videos or repeats ({told}). {again}")
    all_voxels = np.concatenate(list(responses.values()), axis=2)  # (videos, repeats, voxels)
    n_videos, n_repeats, n_voxels = all_voxels.shape

    names = np.repeat(regions, [values.shape[2] for values in responses.values()])
    own_rois = {role: names == role for role in regions} if len(regions) > 1 else {}
    chosen = select_voxels(manifest, subject, data, n_voxels, None, own_rois=own_rois)
    blocks = [slice(first, first + options.videos_per_run) for first in range(0, n_videos, options.videos_per_run)]
    movies = _movies(manifest, data, blocks, n_videos, label)
    runs = []
    for number, block in enumerate(blocks):
        stimulus = f"videos-{number + 1:02d}"
        role = "test" if number >= len(blocks) - options.n_test_runs else "train"
        for repeat in range(n_repeats):
            bold = np.ascontiguousarray(all_voxels[block, repeat][:, chosen.inside], dtype=np.float32)
            runs.append(Run(f"{stimulus}_repeat-{repeat + 1}", role, bold, stimulus, file=paths[regions[0]].name))
    mask = arrays[regions[0]].get(MASK) if len(regions) == 1 else None
    space = _space(manifest, subject, data, mask, chosen.inside, label, again)
    notes = () if mask is None or REFERENCE in manifest.files else (UNPLACED,)
    return chosen.recording(manifest, subject, runs, space, movies, *notes)


def _responses(content: dict[str, NDArray[Any]], role: str, label: str, again: str) -> NDArray[np.float32]:
    if "train" not in content or content["train"].ndim != 3 or content["train"].dtype.kind not in "fiu":
        found = {name: value.shape for name, value in content.items()}
        raise DataError(
            f"{label}: the pickle of {role} must hold an array train of videos x repeats x voxels, found {found}. "
            f"{again}"
        )
    return content["train"].astype(np.float32)


def _movies(
    manifest: Manifest,
    data: Path | str | None,
    blocks: list[slice],
    n_videos: int,
    label: str,
) -> dict[str, Movie]:
    """Show the videos of a block one after the other, one a scan."""
    if VIDEOS not in manifest.stimuli:
        return {}
    whole = dataset_folder(manifest, data)
    folder = whole / manifest.stimuli[VIDEOS]
    files = sorted(path for path in folder.glob("*") if path.is_file() and not path.name.startswith("."))
    if not Path(manifest.stimuli[VIDEOS]).is_absolute():
        for path in (folder, *files):
            check_inside(path, whole, label)
    if len(files) < n_videos:
        raise DataError(
            f"{label}: {folder} holds {len(files)} videos, but there are responses to {n_videos}. Add them."
        )
    return {
        f"videos-{number + 1:02d}": Movie(
            tuple(
                Excerpt(path, onset_s=place * manifest.tr_s, duration_s=manifest.tr_s)
                for place, path in enumerate(files[:n_videos][block])
            )
        )
        for number, block in enumerate(blocks)
    }


def _space(
    manifest: Manifest,
    subject: str,
    data: Path | str | None,
    mask: NDArray[Any] | None,
    inside: NDArray[np.bool_],
    label: str,
    again: str,
) -> Space:
    """Place voxels by the mask in the pickle of the whole brain; its space is that of the reference, or unknown."""
    if mask is None:
        return NoSpace(int(inside.sum()))
    cells = np.flatnonzero(np.ravel(mask) > 0)
    if mask.ndim != 3 or len(cells) != len(inside):
        raise DataError(f"{label}: {MASK} has {len(cells)} voxels, the responses {len(inside)}. {again}")
    volume = np.zeros(mask.shape, dtype=bool)
    volume.ravel()[cells[inside]] = True
    if REFERENCE in manifest.files:
        path = dataset_file(manifest, manifest.files[REFERENCE], data, subject=subject)
        reference = open_image(path, label, again)
        if reference.shape[:3] != mask.shape:
            raise DataError(
                f"{label}: the grid of {path.name} is {reference.shape[:3]}, that of {MASK} {mask.shape}. Use another "
                "image."
            )
        return Volume.like(volume, reference)
    return Volume.unplaced(volume, (1.0, 1.0, 1.0))

"""Write what a study found: tables as TSV, one number a voxel as an image."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from brainpred.recordings.recording import Recording
from brainpred.storage import atomic_path

__all__ = ["write_map", "write_table"]


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Write a table as TSV, whole or not at all."""
    with atomic_path(path) as temporary:
        table.to_csv(temporary, sep="\t", index=False, float_format="%.6g", na_rep="n/a")


def write_map(path: Path, recording: Recording, values: NDArray[np.floating], what: str) -> None:
    """Write one number a voxel as an image in the space of the scan."""
    image = recording.to_image(values)
    image.header["descrip"] = (("simulated: " if recording.simulated else "") + what).encode()[:79]
    with atomic_path(path) as temporary:
        nib.save(image, temporary)

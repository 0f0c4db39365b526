"""Put what is known of every voxel into one table: where it lies, and the numbers of its maps."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from brainpred.recordings.recording import Recording

__all__ = ["voxel_table"]


def voxel_table(recording: Recording, values: Mapping[str, NDArray[np.floating]]) -> pd.DataFrame:
    """Tabulate maps, a row a voxel.

    Parameters
    ----------
    recording : Recording
        The scans.
    values : mapping of str to ndarray (n_voxels,)
        Maps by name.

    Returns
    -------
    DataFrame (n_voxels rows)
        Voxel in the order of the mask, origin of the scans, ROI, place (of a volume: indices i, j, k and x, y, z in mm;
        of surfaces: hemisphere and vertex; of grayordinates: structure, vertex or indices), and every map.
    """
    return pd.DataFrame(
        {
            "voxel": np.arange(recording.n_voxels), "data": "simulated" if recording.simulated else "measured",
            "roi": recording.rois, **recording.space.places(), **values,
        }
    )  # fmt: skip

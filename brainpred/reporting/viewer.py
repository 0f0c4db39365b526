"""Put brain volumes into the page, so that a reader can go through their slices."""

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.spatialimages import SpatialImage
from numpy.typing import NDArray

from brainpred.errors import DataError
from brainpred.reporting.brain import is_whole_brain
from brainpred.reporting.maps import read_map

__all__ = ["MAX_BYTES", "viewer_data"]

MAX_BYTES = 900_000  # of all that the viewer adds to the page
START_PERCENTILE = 99.0
TITLES = {
    "explainable_variance": "explainable variance",
    "encoding_r": "r, predicted from the features",
    "tsnr": "tSNR",
}


def viewer_data(folder: Path, maps: Mapping[str, list[str]], layers: list[str]) -> dict[str, Any] | None:
    """Gather the volumes that the viewer shows: as many as fit, the forward patterns first.

    Parameters
    ----------
    folder : Path
        Folder of the results.
    maps : mapping of str to list of str
        Files of every map.
    layers : list of str
        Layers whose maps are shown.

    Returns
    -------
    dict or None
        ``shape`` of the box of all voxels (right, front, up), ``inside`` (its voxels in the order of C, a bit each) and
        ``behind`` (their grey), both in base64; ``begin``, the voxel shown first; ``affine`` of the box, by rows; and
        ``maps``, each with ``title``, ``values`` (base64; 0 is ``low``, 255 is ``high``) and ``start``, the value from
        which it is drawn at first.
        None where there is no volume or the first does not fit.
    """
    names = [f"pattern_{layer}" for layer in layers] + [*TITLES] + [f"contribution_{layer}" for layer in layers]
    images = {}
    for name in names:
        try:
            image = read_map(folder, maps[name]).volume if maps.get(name) else None
        except DataError:  # the figure itself tells what is wrong
            continue
        if image is not None and np.isfinite(image.get_fdata(dtype=np.float32)).all():
            images[name] = nib.as_closest_canonical(image)
    if not images:
        return None
    first = next(iter(images.values()))
    images = {name: image for name, image in images.items() if image.shape == first.shape}
    data = {name: image.get_fdata(dtype=np.float32) for name, image in images.items()}
    inside = np.any([values != 0 for values in data.values()], axis=0)
    if not inside.any():
        return None
    places = np.argwhere(inside)
    low, high = places.min(axis=0), places.max(axis=0) + 1
    box = tuple(slice(*ends) for ends in zip(low, high, strict=True))
    mask = inside[box]
    bits = np.packbits(mask)
    behind = _behind(first, inside)
    room = MAX_BYTES - (len(bits) + len(behind)) * 4 // 3
    n_maps = int(room // (int(mask.sum()) * 4 / 3))
    if n_maps < 1:
        return None
    affine = first.affine.copy()
    affine[:3, 3] = nib.affines.apply_affine(first.affine, low)
    return {
        "shape": list(mask.shape), "inside": _base64(bits), "behind": _base64(behind),
        "begin": _beginning(next(iter(data.values()))[box], mask),
        "affine": np.round(affine[:3], 4).ravel().tolist(), "mni": is_whole_brain(first),
        "maps": [_of_map(name, values[inside]) for name, values in list(data.items())[:n_maps]],
    }  # fmt: skip


def _beginning(values: NDArray[np.float32], mask: NDArray[np.bool_]) -> list[int]:
    """Give the voxel in the midst of the highest values."""
    strong = np.argwhere(mask & (values >= np.percentile(values[mask], START_PERCENTILE)))
    nearest = np.abs(strong - np.median(strong, axis=0)).sum(axis=1).argmin()
    return [int(n) for n in strong[nearest]]


def _behind(image: SpatialImage, inside: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Give the grey of every voxel: that of the MNI152 template where the brain lies there, else one for all."""
    if not is_whole_brain(image):
        return np.full(int(inside.sum()), 90, dtype=np.uint8)
    from nilearn.datasets import load_mni152_template
    from nilearn.image import resample_to_img

    template = resample_to_img(load_mni152_template(resolution=2), image, copy_header=True, force_resample=True)
    grey = template.get_fdata(dtype=np.float32)[inside]
    scaled: NDArray[np.uint8] = (40 + 140 * (grey / max(float(grey.max()), 1e-6)).clip(0, 1)).astype(np.uint8)
    return scaled


def _of_map(name: str, values: NDArray[np.float32]) -> dict[str, Any]:
    kind, _, layer = name.partition("_")
    title = TITLES.get(name) or f"{layer}: {'forward pattern' if kind == 'pattern' else kind}"
    low, high = (float(end) for end in np.percentile(values, [0, 99.9]))
    high = high if high > low else low + 1.0
    start = float(np.percentile(values, START_PERCENTILE)) if name != "tsnr" else low
    levels = np.round((values.clip(low, high) - low) / (high - low) * 255).astype(np.uint8)
    return {"title": title, "values": _base64(levels), "low": low, "high": high, "start": start}


def _base64(values: NDArray[np.uint8]) -> str:
    return base64.b64encode(values.tobytes()).decode()

"""Small movies of odd sizes whose every frame says which it is, for tests of what plays them."""

import h5py
import numpy as np
from PIL import Image

HEIGHT, WIDTH = 11, 17


def numbered_frames(n_frames, height=HEIGHT, width=WIDTH):
    """Make frames no two of which, no two rows and no two columns of which are alike; (n, height, width, 3), uint8."""
    n, y, x = np.ogrid[:n_frames, :height, :width]
    colours = (3 * n + 0 * y + 0 * x, 0 * n + 11 * y + 0 * x, n + 0 * y + 7 * x)
    return np.stack(colours, axis=-1).astype(np.uint8)


def write_pictures(folder, frames, numbers=None, suffix=".png"):
    """Write frames as numbered pictures."""
    folder.mkdir()
    for number, frame in zip(range(len(frames)) if numbers is None else numbers, frames, strict=True):
        Image.fromarray(frame).save(folder / f"shot2_{number}{suffix}")
    return folder


def write_matlab(path, **arrays):
    """Write arrays as MATLAB 7.3 does: axes counted from the other end, with the class noted."""
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, array in arrays.items():
            file[name] = array.T
            file[name].attrs["MATLAB_class"] = np.bytes_("uint8")
    with open(path, "r+b") as stream:
        stream.write(b"MATLAB 7.3 MAT-file")
    return path

"""Ways to damage files, and to look at what is said about it."""

import json

import h5py
import nibabel as nib
import numpy as np

from tests.recordings.layouts import AFFINE


def cut(path, kept=0.6):
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])


def save(values, path, affine=AFFINE):
    nib.save(nib.Nifti1Image(values, affine), path)


def change_image(path, change, affine=AFFINE):
    """Read all of an image, change its values, write it again."""
    values = np.asarray(nib.load(path).dataobj).copy()
    change(values)
    save(values, path, affine)


def change_json(path, **content):
    path.write_text(json.dumps(json.loads(path.read_text()) | content))


def assert_says(message, *words):
    for word in words:
        assert word in message


def change_hdf5(path, **values):
    with h5py.File(path, "a") as file:
        for name, value in values.items():
            del file[name.replace("__", "/")]
            if value is not None:
                file[name.replace("__", "/")] = value

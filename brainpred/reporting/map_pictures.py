"""Draw a brain map wherever it can be: on a glass brain or as slices, and on the inflated cortex."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from brainpred.errors import DataError
from brainpred.reporting.brain import brain_figure, is_whole_brain, slices_figure
from brainpred.reporting.maps import BrainMap, cortex_on_mesh, read_map
from brainpred.reporting.meshes import SIDES
from brainpred.reporting.pictures import Pictures
from brainpred.reporting.surface import joined_labels, surface_figure
from brainpred.reporting.thresholds import Shown, everything, label_voxels, significant, standing_out, unbalanced

__all__ = ["MAP_KINDS", "MapKind", "draw_map"]

Labels = Callable[[NDArray[np.bool_]], NDArray[np.integer]]


@dataclass(frozen=True)
class MapKind:
    """Say how a kind of map is drawn.

    Attributes
    ----------
    title : str
        Title of its figures; ``{}`` is the layer.
    label : str
        What the colours are.
    on_surface : bool
        Whether a volume is drawn on the surface too.
    """

    title: str
    label: str
    on_surface: bool = True


MAP_KINDS = {
    "pattern": MapKind("{}: forward pattern", "correlation, RMS"),
    "contribution": MapKind("{}: contribution of each voxel", "contribution", on_surface=False),
    "contribution_any": MapKind("Largest contribution to any layer", "contribution, spreads", on_surface=False),
    "explainable_variance": MapKind("Explainable variance of each voxel", "explainable variance"),
    "encoding_r": MapKind("r of each voxel, predicted from the features", "r (held-out)"),
    "tsnr": MapKind("Temporal signal-to-noise ratio of each voxel", "tSNR", on_surface=False),
}


def draw_map(
    pictures: Pictures, folder: Path, maps: Mapping[str, list[str]], kind: str, *, simulated: bool, layer: str = ""
) -> None:
    """Draw a map into ``<name>`` and, on the inflated cortex, ``surface_<name>``.

    Parameters
    ----------
    pictures : Pictures
        Where figures go.
    folder : Path
        Folder of the results.
    maps : mapping of str to list of str
        Files of every map; one that is a table is not drawn.
    kind : str
        Of :data:`MAP_KINDS`.
    simulated : bool
        Whether the scans were simulated.
    layer : str
        Layer that the map belongs to, if it belongs to one.
    """
    name, look = f"{kind}_{layer}" if layer else kind, MAP_KINDS[kind]
    files = maps.get(name, [])
    if not files or files[0].endswith(".tsv"):
        return
    try:
        brain = read_map(folder, files)
        q = read_map(folder, maps["encoding_q"]) if kind == "encoding_r" and "encoding_q" in maps else None
    except DataError as error:
        pictures.fail(name, error)
        return
    words: dict[str, Any] = {"title": look.title.format(layer), "label": look.label, "simulated": simulated}
    if brain.volume is not None:
        _draw_volume(pictures, name, kind, brain, q, words)
    if brain.cortex is not None or look.on_surface:
        _draw_cortex(pictures, folder, name, kind, brain, q, words)


def _draw_volume(
    pictures: Pictures, name: str, kind: str, brain: BrainMap, q: BrainMap | None, words: dict[str, Any]
) -> None:
    assert brain.volume is not None
    values = np.asarray(brain.volume.dataobj)
    q_values = None if q is None or q.volume is None else np.asarray(q.volume.dataobj)
    shown = _choose(kind, values, q_values, label_voxels, "voxels")
    if kind == "tsnr":
        pictures.draw(name, partial(slices_figure, brain.volume, shown, **words))
    elif is_whole_brain(brain.volume) and not shown.places.any():
        pictures.tell(name, f"No voxel is drawn: none is among {shown.rule}.")
    else:
        highest = np.unravel_index(np.argmax(np.where(shown.places, values, -np.inf)), values.shape)
        where = ", ".join(f"{place:.0f}" for place in nib.affines.apply_affine(brain.volume.affine, highest))
        n = int(shown.places.sum())
        finding = (
            f"{n:,} voxels are drawn, the highest at x, y, z of {where} mm" if is_whole_brain(brain.volume) else ""
        )
        pictures.draw(name, partial(brain_figure, brain.volume, shown, **words), finding=finding)


def _draw_cortex(
    pictures: Pictures, folder: Path, name: str, kind: str, brain: BrainMap, q: BrainMap | None, words: dict[str, Any]
) -> None:
    name = f"surface_{name}"
    try:
        found = cortex_on_mesh(folder, brain)
        q_found = cortex_on_mesh(folder, q) if brain.cortex is not None and q is not None else None
    except DataError as error:
        pictures.tell(name, str(error))
        return
    if found is None:
        return
    values, mesh = found
    joined = np.concatenate([values[side] for side in SIDES])
    q_joined = q_found and np.concatenate([q_found[0][side] for side in SIDES])
    shown = _choose(kind, joined, q_joined, joined_labels(mesh), "vertices")
    if shown.places.any():
        left, right = (int(part.sum()) for part in np.split(shown.places, [mesh.n_vertices[0]]))
        finding = f"Of the left hemisphere {left:,} vertices are drawn, of the right {right:,}, on {mesh.name}"
        pictures.draw(name, partial(surface_figure, values, mesh, shown, **words), finding=finding)
    else:
        pictures.tell(name, f"No place of the inflated cortex is drawn: none is among {shown.rule}.")


def _choose(kind: str, values: NDArray[np.floating], q: NDArray[np.floating] | None, label: Labels, what: str) -> Shown:
    """Choose what is drawn by what chance makes of a map of this kind."""
    if kind == "tsnr":
        return everything(values)
    if kind == "contribution":
        return unbalanced(values, what)
    if q is not None:
        return significant(values, q, what)
    return standing_out(values, label, what)

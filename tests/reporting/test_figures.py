"""Figures show the numbers they are given, in the right place, and say when these are simulated."""

import matplotlib
import matplotlib.pyplot as plt
import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.text import Text

from brainpred.decoding.result import LayerResult
from brainpred.errors import DataError
from brainpred.reporting.brain import brain_figure, is_whole_brain, slices_figure
from brainpred.reporting.figures import (
    bars_figure,
    contribution_figure,
    layer_colours,
    layer_figure,
    time_courses,
    timeline_figure,
    visual_field_figure,
    visual_field_numbers,
)
from brainpred.reporting.thresholds import Shown, everything


def make_result(layer="R0", shape=(3, 6, 10), n_scans=11, seed=0, **changes):
    rng = np.random.default_rng(seed)
    n_units = int(np.prod(shape))
    values = {
        "layer": layer, "shape": shape, "runs": np.array(["clip"] * n_scans),
        "true": rng.standard_normal((n_scans, n_units)).astype(np.float32),
        "decoded": rng.standard_normal((n_scans, n_units)).astype(np.float32),
        "r": rng.uniform(-0.2, 0.7, n_units).astype(np.float32),
        "reliability": rng.uniform(0.5, 0.8, n_units).astype(np.float32),
        "ceiling": rng.uniform(0.7, 0.9, n_units).astype(np.float32),
        "pattern_r": np.zeros(n_scans, np.float32), "identification": np.ones(n_scans, np.float32),
        "identification_10way": np.full(n_scans, 0.5, np.float32), "folds": np.zeros(n_scans, np.int64),
        "similarity": np.eye(n_scans, dtype=np.float32), "excluded": 2,
        "regret": np.zeros(2, np.float32), "form": "dual", "n_patterns": 0,
        "nway_chosen": np.full(n_scans, -1), "nway_shown": np.full(n_scans, -1),
        "band_names": ("a",),
        "band_weights": np.ones(1, np.float32), "delays": np.array([2, 3]),
        "lag_contributions": np.zeros((2, 5), np.float32), "pattern": np.zeros(5, np.float32),
        "band_r2": np.zeros((1, n_units), np.float32), "fold_mean": np.zeros((1, n_units), np.float32),
        "fold_std": np.ones((1, n_units), np.float32),
        "train_runs": np.array(["train"] * 2), "train_true": np.zeros((2, n_units), np.float32),
        "train_decoded": np.zeros((2, n_units), np.float32),
    }  # fmt: skip
    values |= {name: np.ones(n_units, np.float32) for name in ("mean", "std", "r2", "alphas", "cv_r2")}
    return LayerResult(**(values | changes))


def make_rois(layers=("R0", "R1"), rois=("V1", "V2", "rest")):
    rng = np.random.default_rng(2)
    rows = [(layer, roi, 7 + n, rng.uniform(-0.01, 0.1)) for layer in layers for n, roi in enumerate(rois)]
    return pd.DataFrame(rows, columns=["layer", "roi", "n_voxels", "contribution"])


def head_image(scale=1.0, shift_mm=(0.0, 0.0, 0.0), size_mm=12.0):
    """Make a coarse image of the shape and place of an MNI brain, brightest on the left."""
    shape = (15, 18, 16)
    affine = np.diag([size_mm, size_mm, size_mm, 1.0])
    affine[:3, 3] = np.array([-84.0, -120.0, -66.0]) + shift_mm
    places = np.moveaxis(np.indices(shape), 0, -1) * size_mm + np.array([-84.0, -120.0, -66.0])
    inside = (((places - [0, -18, 8]) / [66, 84, 68]) ** 2).sum(axis=-1) < 1
    values = np.where(inside, 1.0 + (places[..., 0] < 0), 0.0) * scale
    return nib.Nifti1Image(values.astype(np.float32), affine)


def slab_image(shape=(7, 5, 1), affine=None, scale=1.0):
    values = np.random.default_rng(3).uniform(0.1, 1.0, shape).astype(np.float32) * scale
    return nib.Nifti1Image(values, np.eye(4) if affine is None else affine)


def all_of(image, *, signed=False):
    """Let all voxels of an image be drawn."""
    return Shown(np.asarray(image.dataobj) != 0, "voxels that were chosen", signed=signed)


def texts(figure):
    return [text.get_text() for text in figure.findobj(Text)]


def settings_without_backend():
    """Give matplotlib's settings but for the backend, which nilearn chooses when it is first imported."""
    return {name: value for name, value in matplotlib.rcParams.items() if not name.startswith("backend")}


ALL_FIGURES = {
    "layers": lambda simulated: layer_figure([make_result(), make_result("R1", (5, 3, 5))], simulated=simulated),
    "field": lambda simulated: visual_field_figure([make_result()], simulated=simulated),
    "slices": lambda simulated: brain_figure(slab_image(), all_of(slab_image()), "title", "label", simulated=simulated),
    "glass": lambda simulated: brain_figure(head_image(), all_of(head_image()), "title", "label", simulated=simulated),
    "timeline": lambda simulated: timeline_figure(time_courses(make_result(), 1.5), simulated=simulated),
    "rois": lambda simulated: contribution_figure(make_rois(), simulated=simulated),
}


@pytest.mark.parametrize("name", ALL_FIGURES)
def test_every_figure_says_when_it_is_simulated_and_leaves_nothing_behind(name):
    before = settings_without_backend()
    assert "simulated data" in texts(ALL_FIGURES[name](True))
    assert not any("simulated" in text for text in texts(ALL_FIGURES[name](False)))
    assert settings_without_backend() == before
    assert plt.get_fignums() == []


def test_text_with_dollars_is_no_formula():
    result = make_result("a$\\nonsense$", (8,))
    assert "a$\\nonsense$\n8 units" in texts(layer_figure([result], simulated=False))


def test_layers_keep_their_colour_whatever_stands_beside_them():
    everywhere = layer_colours(["R0", "R1", "R2", "R3"])
    assert len(set(everywhere.values())) == 4
    assert layer_colours(["R2"])["R2"] == everywhere["R2"]
    mixed = layer_colours(["pixels", "R0", "sound"])
    assert mixed["R0"] == everywhere["R0"]
    assert len(set(mixed.values())) == 3


def test_layer_figure_shows_mean_and_ceiling():
    with_gap = make_result("R1", (5, 3, 5), seed=4)
    with_gap.r[3] = np.nan
    results = [make_result(seed=5), with_gap]
    figure = layer_figure(results, simulated=False)
    for x, result in enumerate(results):
        mean = np.tanh(np.nanmean(np.arctanh(result.r)))
        assert f"{mean:.2f}" in texts(figure)
        assert f"ceiling {np.sqrt(result.reliability.mean()):.2f}" in texts(figure)
        assert f"{result.layer}\n{len(result.r)} units" in texts(figure)
        lines = [line for line in figure.axes[0].findobj(LineCollection) if line.get_segments()[0][0][0] == x - 0.38]
        np.testing.assert_allclose(
            [line.get_segments()[0][0][1] for line in lines], [np.sqrt(result.reliability.mean())], rtol=1e-6
        )


def test_layer_figure_shows_every_unit_of_a_small_layer():
    result = make_result("features", (8,), reliability=np.full(8, np.nan, np.float32))
    figure = layer_figure([result], simulated=False)
    dots = [dots for dots in figure.axes[0].findobj(PathCollection) if len(dots.get_offsets()) == 8]
    np.testing.assert_allclose(np.sort(dots[0].get_offsets()[:, 1]), np.sort(result.r), rtol=1e-6)
    assert not any("ceiling" in text for text in texts(figure))


def test_layers_without_any_score_are_refused():
    with pytest.raises(DataError, match="every unit is constant"):
        layer_figure([make_result(r=np.full(180, np.nan, np.float32))], simulated=False)


def test_visual_field_is_the_mean_over_channels_at_each_place():
    result = make_result()
    result.r[0] = np.nan  # channel 0 of the place at the upper left
    result.r[[7, 67, 127]] = np.nan  # every channel of row 0, column 7
    expected = np.full((6, 10), np.nan)
    for row in range(6):
        for column in range(10):
            values = [result.r[np.ravel_multi_index((c, row, column), (3, 6, 10))] for c in range(3)]
            known = [value for value in values if np.isfinite(value)]
            expected[row, column] = np.mean(known) if known else np.nan
    small = make_result("R1", (5, 3, 5), seed=1)
    small.r[:] /= 4
    figure = visual_field_figure([result, make_result("table", (8,)), small], simulated=False)
    image, other = (axes.get_images()[0] for axes in figure.axes[:2])
    np.testing.assert_allclose(np.ma.filled(image.get_array(), np.nan), expected, rtol=1e-5)
    assert image.get_extent() == [0, 10, 6, 0]  # row 0 at the top
    assert image.get_clim() == other.get_clim() == (0, pytest.approx(np.nanpercentile(expected, 99.5), rel=1e-4))
    assert {"R0, 3 channels", "R1, 5 channels"} <= set(texts(figure))
    numbers = visual_field_numbers([result, small]).set_index(["layer", "row", "column"])["mean_r"]
    assert numbers[("R0", 4, 7)] == pytest.approx(expected[4, 7])
    assert len(numbers) == 60 + 15


def test_layer_that_is_not_spatial_has_no_visual_field():
    with pytest.raises(DataError, match=r"received \(8,\)"):
        visual_field_figure([make_result("features", (8,))], simulated=False)


@pytest.mark.parametrize(
    ("image", "whole"),
    [
        (head_image(), True),
        (head_image(shift_mm=(0, 60, 0)), False),
        (head_image(size_mm=5.0), False),
        (head_image(scale=0.0), False),
        (slab_image((40, 20, 1)), False),
        (slab_image((64, 64, 9)), False),
    ],
    ids=["MNI", "elsewhere", "too small", "empty", "one slice", "slab"],
)
def test_whole_brains_are_told_from_others(image, whole):
    assert is_whole_brain(image) is whole


def test_glass_brain_shows_what_is_chosen_and_by_what_rule():
    image = head_image(scale=3e-6)
    values = np.asarray(image.dataobj)
    figure = brain_figure(image, Shown(values > 4e-6, "the left half"), "R0", "contribution", simulated=False)
    assert "the left half" in texts(figure)
    assert "contribution (×10⁻⁶)" in texts(figure)
    assert {"L", "R"} <= set(texts(figure))
    front = next(axes for axes in figure.axes if {"L", "R"} <= {text.get_text() for text in axes.texts})
    drawn = np.ma.masked_invalid(front.get_images()[0].get_array())
    left, right = np.array_split(drawn, 2, axis=1)
    assert np.ma.filled(left, 0).any()
    assert not np.ma.filled(right, 0).any()


def test_glass_brain_without_voxels_is_refused():
    image = head_image()
    with pytest.raises(DataError, match="No voxel"):
        brain_figure(image, Shown(np.zeros(image.shape, bool), "none"), "R0", "r", simulated=False)


def test_whole_brains_as_slices_have_the_colours_of_their_own_range():
    image = head_image()
    values = np.asarray(image.dataobj) * 10 + 90.0 * (np.asarray(image.dataobj) > 0)
    image = nib.Nifti1Image(values.astype(np.float32), image.affine)
    figure = slices_figure(image, everything(values), "title", "tSNR", simulated=False)
    panel = figure.axes[0].get_images()[1]
    assert panel.get_clim() == pytest.approx((100, 110))  # where the values lie, far from 0
    n_across, n_up = (len(np.flatnonzero(values.any(axis=others))) for others in ((1, 2), (0, 2)))
    assert panel.get_array().shape == (n_up, n_across)  # seen from above


def test_slices_show_every_voxel_with_left_on_the_left():
    mirrored = np.diag([-2.0, 3.0, 4.0, 1.0])  # the first axis runs from right to left
    image = slab_image((7, 5, 1), mirrored)
    figure = brain_figure(image, all_of(image), "title", "label", simulated=False)
    shown = figure.axes[0].get_images()[1].get_array()
    np.testing.assert_allclose(shown, image.get_fdata()[::-1, :, 0].T, rtol=1e-6)
    assert figure.axes[0].get_images()[1].origin == "lower"
    assert figure.axes[0].get_aspect() == pytest.approx(1.5)


def test_slices_are_cut_to_what_is_not_zero_across_the_shortest_axis():
    values = np.zeros((7, 3, 11), np.float32)
    values[2:5, 1:, 4:10] = np.random.default_rng(0).uniform(0.1, 1, (3, 2, 6))
    image = nib.Nifti1Image(values, np.eye(4))
    figure = brain_figure(image, all_of(image), "title", "label", simulated=False)
    shown = [axes.get_images()[1].get_array() for axes in figure.axes[:2]]
    for number, array in enumerate(shown):
        np.testing.assert_allclose(array, values[2:5, 1 + number, 4:10].T)
    assert {"slice 2", "slice 3"} <= set(texts(figure))
    assert "slice 1" not in texts(figure)


def test_unsigned_values_below_zero_are_left_out():
    values = np.array([[[-5.0], [1.0], [2.0]]], dtype=np.float32)
    image = nib.Nifti1Image(values, np.eye(4))
    figure = brain_figure(image, all_of(image), "title", "label", simulated=False)
    shown = figure.axes[0].get_images()[1]
    assert shown.get_clim()[0] == 0
    assert shown.get_array().compressed().tolist() == [1.0, 2.0]


@pytest.mark.parametrize("values", [np.zeros((4, 3, 2)), np.full((4, 3, 2), np.nan), np.ones((4, 3, 2, 5))])
def test_images_without_numbers_are_refused(values):
    image = nib.Nifti1Image(values.astype(np.float32), np.eye(4))
    with pytest.raises(DataError, match="three dimensions"):
        brain_figure(image, all_of(image), "title", "label", simulated=False)


def test_timeline_shows_the_units_nearest_to_the_99th_percentile():
    rng = np.random.default_rng(6)
    r = rng.permutation(np.linspace(-0.3, 0.9, 1000)).astype(np.float32)
    r[rng.choice(1000, 13, replace=False)] = np.nan
    figure = timeline_figure(time_courses(make_result(shape=(4, 25, 10), r=r), 2.0), simulated=False)
    known = sorted((value, unit) for unit, value in enumerate(r) if np.isfinite(value))
    target = np.percentile([value for value, _ in known], 99)
    nearest = sorted(known, key=lambda pair: abs(pair[0] - target))[:3]
    expected = []
    for value, unit in sorted(nearest, reverse=True):
        channel, row, column = np.unravel_index(unit, (4, 25, 10))
        expected.append(f"channel {channel}, row {row}, column {column}   r = {value:.2f}")
    assert [axes.get_title(loc="left") for axes in figure.axes] == expected
    assert max(r[np.isfinite(r)]) not in [value for value, _ in nearest]


def test_timeline_draws_the_first_run_standardised_in_seconds():
    n_scans = 500
    runs = np.array(["one"] * 300 + ["two"] * 200)
    result = make_result("features", (2,), n_scans, runs=runs, r=np.array([0.1, np.nan], np.float32))
    figure = timeline_figure(time_courses(result, 2.5), simulated=False, colour="#123456")
    _, true, decoded = figure.axes[0].get_lines()
    for line, values in ((true, result.true), (decoded, result.decoded)):
        shown = values[:240, 0]
        np.testing.assert_allclose(line.get_ydata(), (shown - shown.mean()) / shown.std(), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(line.get_xdata(), 2.5 * np.arange(240))
    assert len(figure.axes) == 1
    assert decoded.get_color() == "#123456"
    assert figure.axes[0].get_xlabel() == "time in one (s)"
    assert figure.axes[0].get_title(loc="left") == "unit 0   r = 0.10"


def test_constant_units_have_no_timeline():
    with pytest.raises(DataError, match="R0: every unit is constant"):
        time_courses(make_result(r=np.full(180, np.nan, np.float32)), 1.0)


def test_bars_are_the_contributions():
    table = make_rois()
    figure = contribution_figure(table, simulated=False)
    axes = figure.axes[0]
    rois = [label.get_text().split("\n")[0] for label in axes.get_yticklabels()]
    for bars, layer in zip(axes.containers, ("R0", "R1"), strict=True):
        values = table[table["layer"] == layer].set_index("roi")["contribution"]
        np.testing.assert_allclose([bar.get_width() for bar in bars], values[rois])
    assert "V1\n7 voxels" in texts(figure)
    assert rois == list(dict.fromkeys(table["roi"]))  # as in the table


def test_only_the_twelve_largest_rois_are_shown():
    table = make_rois(("R0",), [f"area {n}" for n in range(17)])
    axes = contribution_figure(table, simulated=False).axes[0]
    shown = {label.get_text().split("\n")[0] for label in axes.get_yticklabels()}
    largest = table.assign(size=table["contribution"].abs()).nlargest(12, "size")
    assert shown == set(largest["roi"])


def test_rows_of_the_shortest_bars_are_left_out_and_counted():
    table = pd.DataFrame({"R0": [0.0, 0.5, -0.004, 0.006], "R1": [0.001, 0.1, 0.0, -0.002]}, index=list("abcd"))
    axes = bars_figure(table, "title", "part", simulated=False).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["b", "d"]
    assert axes.get_xlabel().startswith("part\n2 not drawn: below 1% of the longest bar")


def test_empty_table_is_refused():
    with pytest.raises(DataError, match="empty"):
        contribution_figure(make_rois().iloc[:0], simulated=False)

"""Features that a user brings are checked against the scans; so are movies."""

import re
from dataclasses import replace
from pathlib import Path

import h5py
import nibabel as nib
import numpy as np
import pytest

from brainpred.errors import ConfigError, DataError
from brainpred.features.source import (
    ClipFeatures,
    JoinedFeatures,
    TableFeatures,
    check_layers,
    check_movie_lengths,
    load_table,
)
from brainpred.features.store import write_feature_file
from brainpred.movies.video import write_video
from brainpred.recordings.recording import Recording, Run
from brainpred.recordings.spaces import Volume
from brainpred.stimulus import Movie

LENGTHS = {"one": 5, "two": 3, "three": 7}
VALUES = np.random.default_rng(0).normal(size=(15, 2)).astype(np.float32)


def recording(lengths=LENGTHS, stimuli=(), tr_s=2.0):
    """Make a recording of five voxels whose runs show the clips of their names, if there are clips."""
    stimuli = dict(stimuli)
    runs = [
        Run(name, "train", np.ones((n_scans, 5), np.float32), name if stimuli else None)
        for name, n_scans in lengths.items()
    ]
    mask = nib.Nifti1Image(np.ones((1, 5, 1), np.uint8), np.eye(4))
    return Recording("toy", "s1", tr_s, runs, Volume(mask), np.full(5, "roi"), stimuli)


def write_table(path, separator="\t", header=("u1", "u2"), rows=None, runs=None):
    rows = [[f"{value:.9g}" for value in row] for row in VALUES] if rows is None else rows
    if runs is not None:
        header, rows = ["run", *header], [[run, *row] for run, row in zip(runs, rows, strict=True)]
    path.write_text("\n".join(separator.join(row) for row in [header, *rows]) + "\n")
    return path


def assert_holds(source, layer, values):
    begin = 0
    for run in recording().runs:
        np.testing.assert_allclose(source.of_run(layer, run), values[begin : begin + run.n_scans], rtol=1e-6)
        begin += run.n_scans
    assert begin == len(values)


@pytest.mark.parametrize(("name", "separator"), [("f.tsv", "\t"), ("f.txt", "\t"), ("f.CSV", ",")])
@pytest.mark.parametrize("runs", [None, [name for name, n_scans in LENGTHS.items() for _ in range(n_scans)]])
def test_table_of_text(tmp_path, name, separator, runs):
    source = load_table(write_table(tmp_path / name, separator, runs=runs), recording())
    assert dict(source.shapes) == {"features": (2,)}
    assert_holds(source, "features", VALUES)


def test_table_of_hdf5(tmp_path):
    more = np.random.default_rng(1).normal(size=(15, 7))
    with h5py.File(tmp_path / "f.hdf5", "w") as file:
        file["semantic"], file["motion"] = VALUES, more
        file["note"] = np.arange(3)
        file.create_group("else")
    source = load_table(str(tmp_path / "f.hdf5"), recording())
    assert dict(source.shapes) == {"motion": (7,), "semantic": (2,)}
    assert_holds(source, "semantic", VALUES)
    assert_holds(source, "motion", more)
    assert source.of_run("motion", recording().runs[0]).dtype == np.float32


def test_feature_file_that_brainpred_wrote(tmp_path):
    values = np.random.default_rng(2).normal(size=(15, 3, 2, 5)).astype(np.float32)
    write_feature_file(tmp_path / "f.h5", {"R0": values, "R1": values[:, :, 0]}, 2.0, {})
    source = load_table(tmp_path / "f.h5", recording())
    assert set(source.shapes) == {"R0", "R1"}
    assert_holds(source, "R0", values.reshape(15, 30))
    assert_holds(source, "R1", values[:, :, 0].reshape(15, 15))


@pytest.mark.parametrize("lengths", [(5, 4, 6), (4, 4, 7), (15,), (5, 3, 6, 1)])
def test_run_column_that_does_not_match_is_refused(tmp_path, lengths):
    runs = [f"run{number}" for number, length in enumerate(lengths) for _ in range(length)]
    path = write_table(tmp_path / "f.tsv", runs=runs)
    message = f"marks runs of {list(lengths)} scans, but toy/s1 has runs of [5, 3, 7]"
    with pytest.raises(DataError, match=re.escape(message)):
        load_table(path, recording())


@pytest.mark.parametrize("n_rows", [1, 14, 16])
@pytest.mark.parametrize("suffix", ["tsv", "h5"])
def test_wrong_number_of_rows_is_refused(tmp_path, n_rows, suffix):
    values = np.resize(VALUES, (n_rows, 2))
    path = tmp_path / f"f.{suffix}"
    if suffix == "tsv":
        write_table(path, rows=[[str(value) for value in row] for row in values])
    else:
        with h5py.File(path, "w") as file:
            file["features"] = values
    with pytest.raises(DataError, match=rf"has {n_rows} rows, but toy/s1 has 15 scans \(one 5, two 3, three 7\)"):
        load_table(path, recording())


@pytest.mark.parametrize("word", ["n/a", "", "nan", "inf"])
def test_value_that_is_no_number_is_refused_with_a_count(tmp_path, word):
    rows = [[f"{value:.9g}" for value in row] for row in VALUES]
    rows[3][1] = rows[11][0] = rows[12][0] = word
    with pytest.raises(DataError, match="layer features holds 3 values that are no numbers"):
        load_table(write_table(tmp_path / "f.tsv", rows=rows), recording())


def test_value_that_is_no_number_is_refused_in_hdf5(tmp_path):
    with h5py.File(tmp_path / "f.h5", "w") as file:
        file["motion"] = np.where(np.arange(30).reshape(15, 2) == 7, np.nan, VALUES)
    with pytest.raises(DataError, match="layer motion holds 1 values"):
        load_table(tmp_path / "f.h5", recording())


def test_value_beyond_float32_is_refused(tmp_path):
    rows = [[f"{value:.9g}" for value in row] for row in VALUES]
    rows[3][1] = "1e300"
    with pytest.raises(DataError, match="layer features holds 1 values that are no numbers"):
        load_table(write_table(tmp_path / "f.tsv", rows=rows), recording())


def test_more_columns_than_names_are_refused(tmp_path):
    rows = [[str(number), *(f"{value:.9g}" for value in row)] for number, row in enumerate(VALUES)]
    with pytest.raises(DataError, match=r"f\.tsv"):
        load_table(write_table(tmp_path / "f.tsv", rows=rows), recording())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "Expected numbers under a header line"),
        (b"u1\tu2\n", "holds no features"),
        (b"run\n" + b"a\n" * 15, "holds no features"),
        (b"u1\tu2\n" + b"1\tdog\n" * 15, "could not convert string to float"),
        (b"u1\tu2\n" + b"1\t2\n" * 14 + b"1\t2\t3\n", "Expected numbers under a header line"),
        (b"\xff\xfe\x00\x01" * 9, "Expected numbers under a header line"),
    ],
    ids=["empty", "header only", "run column only", "words", "ragged", "binary"],
)
def test_text_that_is_no_table_is_refused(tmp_path, content, message):
    (tmp_path / "f.tsv").write_bytes(content)
    with pytest.raises(DataError, match=message):
        load_table(tmp_path / "f.tsv", recording())


def test_hdf5_that_is_damaged_or_holds_no_layer_is_refused(tmp_path):
    path = tmp_path / "f.h5"
    with h5py.File(path, "w") as file:
        file["flat"] = np.zeros(15)
    with pytest.raises(DataError, match="holds no two-dimensional data set"):
        load_table(path, recording())
    with h5py.File(path, "w") as file:
        file["words"] = np.array([[b"dog", b"cat"]] * 15)
    with pytest.raises(DataError, match="Cannot read features from"):
        load_table(path, recording())
    path.write_bytes(path.read_bytes()[:900])
    with pytest.raises(DataError, match="Cannot read features from"):
        load_table(path, recording())


def test_unknown_kind_and_missing_file_are_refused(tmp_path):
    (tmp_path / "f.mat").write_bytes(b"")
    with pytest.raises(ConfigError, match=r"must be \.tsv, \.csv, \.h5 or \.hdf5, received f\.mat"):
        load_table(tmp_path / "f.mat", recording())
    with pytest.raises(ConfigError, match=r"Feature file .*none\.tsv does not exist"):
        load_table(tmp_path / "none.tsv", recording())


def test_unknown_layers_are_refused_with_those_that_exist():
    source = TableFeatures({"R0": VALUES, "R1": VALUES}, recording())
    check_layers(["R1", "R0"], source)
    check_layers([], source)
    with pytest.raises(ConfigError, match=r"Unknown layer R7, R9\. These features have: R0, R1"):
        check_layers(["R1", "R7", "R9"], source)


def test_clip_features_follow_the_clip_of_the_run(tmp_path):
    rng = np.random.default_rng(4)
    values = {"one": rng.random((6, 3), np.float32), "two": rng.random((3, 3), np.float32)}
    files = {name: write_feature_file(tmp_path / f"{name}.h5", {"R0": v}, 2.0, {}) for name, v in values.items()}
    source = ClipFeatures(files)
    assert dict(source.shapes) == {"R0": (3,)}

    def run(stimulus, n_scans):
        return Run("some", "test", np.ones((n_scans, 5), np.float32), stimulus)

    np.testing.assert_array_equal(source.of_run("R0", run("two", 3)), values["two"])
    np.testing.assert_array_equal(source.of_run("R0", run("one", 5)), values["one"][:5])
    np.testing.assert_array_equal(source.of_run("R0", run("one", 7)), values["one"])
    for n_scans in (4, 8):
        with pytest.raises(DataError, match=f"the scan has {n_scans} scans, but the movie one fills 6"):
            source.of_run("R0", run("one", n_scans))


@pytest.fixture
def clips(tmp_path):
    """Write clips of 5, 3 and 7 scans of 0.8 s at 10 frames a second."""
    paths = {}
    for name, n_scans in LENGTHS.items():
        paths[name] = tmp_path / f"{name}.mp4"
        write_video(paths[name], np.zeros((8 * n_scans, 16, 18, 3), np.uint8), 10)
    return paths


@pytest.mark.parametrize("change", [-1, 0, 1])
def test_lengths_may_differ_by_one_scan(clips, change):
    lengths = {name: n_scans + change for name, n_scans in LENGTHS.items()}
    check_movie_lengths(recording(lengths, clips, tr_s=0.8))


@pytest.mark.parametrize(("run", "n_scans"), [("two", 5), ("three", 5), ("one", 47)])
def test_movie_of_another_length_is_refused_with_both_numbers(clips, run, n_scans):
    run_s, movie_s = (rf"{0.8 * length:.2f} s" for length in (n_scans, LENGTHS[run]))
    message = rf"toy/s1, run {run}: its {n_scans} scans last {run_s}, but its movie {run}\.mp4 {movie_s}\. They may"
    with pytest.raises(DataError, match=message):
        check_movie_lengths(recording({**LENGTHS, run: n_scans}, clips, tr_s=0.8))


@pytest.mark.parametrize("later_s", [-1.0, 1.0])
def test_lengths_agree_to_one_repetition_time_and_no_further(clips, later_s):
    """Seven scans of 0.8 s last 5.6 s: 4.8 and 6.4 s are as far as a movie may be."""

    def compare(difference_s):
        shown = Movie(Movie.parse(clips["three"]).excerpts, duration_s=7 * 0.8 + later_s * difference_s)
        one = recording(LENGTHS, clips, tr_s=0.8)
        check_movie_lengths(replace(one, stimuli={**one.stimuli, "three": shown}))

    for difference_s in (0.0, 0.4, 0.79, 0.8, 0.8 * 1.0049):
        compare(difference_s)
    for difference_s in (0.8 * 1.0051, 0.81, 1.2, 1.59):
        with pytest.raises(DataError, match=r"run three: its 7 scans last 5\.60 s, .*one TR \(0\.8 s\)"):
            compare(difference_s)


def test_wrong_repetition_time_shows_as_a_mismatch(clips):
    with pytest.raises(DataError, match=r"run one: its 5 scans last 8\.00 s, but its movie one\.mp4 4\.00 s"):
        check_movie_lengths(recording(LENGTHS, clips, tr_s=1.6))


def test_run_without_a_movie_is_refused(clips):
    with pytest.raises(DataError, match="run one: no movie is known for it"):
        check_movie_lengths(recording())
    del clips["two"]
    with pytest.raises(DataError, match="run two: no movie is known for it"):
        check_movie_lengths(recording(LENGTHS, clips, tr_s=0.8))
    clips["two"] = Path("gone.mp4")
    with pytest.raises(DataError, match=r"gone\.mp4 does not exist"):
        check_movie_lengths(recording(LENGTHS, clips, tr_s=0.8))


def test_joined_sources_give_each_layer_from_its_own():
    class Part:
        def __init__(self, layer, n_units, n_scans, names):
            self.shapes, self.unit_names, self._n = {layer: (n_units,)}, names, n_scans

        def n_scans(self, run):
            return self._n

        def of_run(self, layer, run, units=slice(None)):
            return np.arange(self._n * self.shapes[layer][0], dtype=np.float32).reshape(self._n, -1)[:, units]

    joined = JoinedFeatures([Part("R0", 5, 7, {}), Part("pixels", 3, 6, {"pixels": ["a", "b", "c"]})])
    assert joined.shapes == {"R0": (5,), "pixels": (3,)}
    assert joined.unit_names == {"pixels": ["a", "b", "c"]}
    assert joined.n_scans(None) == 6, "the shortest"
    assert joined.of_run("R0", None).shape == (6, 5)
    assert joined.of_run("pixels", None, slice(1, 3)).tolist()[1] == [4, 5]

"""`data init` writes manifests that work, asks where there is a choice, and writes nothing that does not work."""

import json
import re
import shutil
from functools import partial
from itertools import pairwise

import h5py
import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

from brainpred.errors import ConfigError, DataError
from brainpred.movies.video import write_video
from brainpred.recordings.readers import load_recording
from brainpred.studies.describe import DescribeConfig, describe_dataset
from tests.recordings.layouts import LENGTHS, TR_S, write_bids

FPS = 4
RUNS = list(LENGTHS)


@pytest.fixture
def lab(tmp_path, monkeypatch):
    """Write four runs of two subjects as fMRIPrep does, and go into an empty folder."""
    monkeypatch.setenv("BRAINPRED_CACHE", str(tmp_path / "cache"))
    for subject in ("sub-02", "sub-11"):
        write_bids(tmp_path / "my lab", subject=subject)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "my lab"


def write_movie(path, duration_s):
    path.parent.mkdir(parents=True, exist_ok=True)
    frames = np.random.default_rng(round(duration_s)).integers(0, 256, (round(duration_s * FPS), 16, 20, 3), np.uint8)
    write_video(path, frames, FPS)
    return path


def write_events(lab, shown, column="stim_file", subjects=("sub-02", "sub-11")):
    for subject in subjects:
        for run, files in shown.items():
            rows, onset_s = [f"onset\tduration\t{column}"], 0.0
            for file in files:
                duration_s = LENGTHS[run] * TR_S / len(files)
                rows.append(f"{onset_s}\t{duration_s}\t{file}")
                onset_s += duration_s
            path = lab / subject / "func" / f"{subject}_task-movie_{run}_events.tsv"
            path.write_text("\n".join([*rows, "1.0\t0\tn/a", ""]))


def describe(lab, **fields):
    path, recording = describe_dataset(DescribeConfig(lab, **fields))
    return yaml.safe_load(path.read_text()), path, recording


def test_one_movie_that_goes_on_from_run_to_run(lab, tmp_path):
    movie = write_movie(tmp_path / "film.mp4", sum(LENGTHS.values()) * TR_S)
    content, path, recording = describe(lab, movie=movie, test_runs=("run-4",))
    assert str(path) == "my_lab.yaml"
    assert content["name"] == "my_lab"
    assert content["folder"] == str(lab)
    assert content["subjects"] == ["02", "11"]
    assert content["tr_s"] == TR_S
    assert content["options"] == {
        "kind": "volume", "derivatives": "derivatives/fmriprep", "task": "movie", "space": "T1w",
    }  # fmt: skip
    assert content["confounds"] == "motion"
    ends_s = np.cumsum([0, *LENGTHS.values()]) * TR_S
    assert list(content["stimuli"].values()) == [f"{movie}[{begin:g}:{end:g}]" for begin, end in pairwise(ends_s)]
    assert [(run["name"], run["role"], run["stimulus"]) for run in content["runs"]] == [
        (name, "test" if name == "run-4" else "train", f"film-{number:02d}") for number, name in enumerate(RUNS, 1)
    ]
    assert recording.subject == "02"
    assert load_recording(str(path), "11").runs[3].role == "test"


def test_a_movie_a_run_in_order(lab, tmp_path):
    for name, n_scans in LENGTHS.items():
        write_movie(lab / "films" / f"part-{name}.mp4", n_scans * TR_S)
    content, _, recording = describe(lab, movie=lab / "films")
    assert content["stimuli"] == {f"part-{name}": f"films/part-{name}.mp4" for name in RUNS}
    assert [run["stimulus"] for run in content["runs"]] == [f"part-{name}" for name in RUNS]
    assert {run.role for run in recording.runs} == {"train"}  # one run at a time is left out


def test_films_and_runs_of_many_sessions_are_matched_by_their_numbers(lab, tmp_path):
    """Eleven films of one length: nothing but their order tells which run showed which."""
    shutil.rmtree(lab)
    for number in range(1, 12):
        write_bids(lab, subject="sub-02", session=f"ses-{number}", lengths={"run-1": 33})
        write_movie(lab / "films" / f"movie{number}.mp4", 33 * TR_S)
    content, _, _ = describe(lab, movie=lab / "films")
    assert [(run["name"], run["stimulus"]) for run in content["runs"]] == [
        (f"ses-{number}_run-1", f"movie{number}") for number in range(1, 12)
    ]


def test_films_of_one_name_in_two_folders_are_two(lab, tmp_path):
    for name, n_scans in zip(("train/1", "train/2", "test/1", "test/2"), LENGTHS.values(), strict=True):
        write_movie(lab / "stimuli" / f"{name}.mp4", n_scans * TR_S)
    shown = {"run-1": "train/1", "run-2": "stimuli/train/2", "run-3": "test/1", "run-4": "stimuli/test/2"}
    write_events(lab, {run: [f"{name}.mp4"] for run, name in shown.items()})
    content, _, recording = describe(lab)
    assert content["stimuli"] == {name: f"stimuli/{name}.mp4" for name in ("train/1", "train/2", "test/1", "test/2")}
    assert [run.stimulus for run in recording.runs] == ["train/1", "train/2", "test/1", "test/2"]
    write_events(lab, {run: ["1.mp4"] for run in RUNS})
    with pytest.raises(
        DataError, match=r"run-1_events\.tsv names 1\.mp4, which may be .*test/1\.mp4 or .*train/1\.mp4"
    ):
        describe(lab, name="other")


def test_films_may_be_pictures_or_arrays(lab, tmp_path):
    rng = np.random.default_rng(4)
    for run, n_scans in LENGTHS.items():
        n_frames = round(n_scans * TR_S)
        np.save(tmp_path / f"{run}.npy", rng.integers(0, 256, (n_frames, 16, 20, 3), np.uint8))
        (tmp_path / "pictures" / run).mkdir(parents=True)
        for number in range(n_frames):
            picture = Image.fromarray(rng.integers(0, 256, (16, 20, 3), np.uint8))
            picture.save(tmp_path / "pictures" / run / f"{number:03d}.png")
    content, _, _ = describe(lab, movie=tmp_path / "pictures", frame_rate_hz=1.0)
    assert [run["stimulus"] for run in content["runs"]] == RUNS
    assert content["stimuli"]["run-2"] == str(tmp_path / "pictures" / "run-2")
    assert content["frame_rate_hz"] == 1.0
    arrays = tmp_path / "arrays"
    arrays.mkdir()
    for path in tmp_path.glob("run-*.npy"):
        path.rename(arrays / path.name)
    content, _, recording = describe(lab, movie=arrays, frame_rate_hz=1.0, name="arrays")
    assert recording.stimuli["run-3"].excerpts[0].path == arrays / "run-3.npy"
    whole = np.concatenate([np.load(arrays / f"{run}.npy") for run in RUNS])
    with h5py.File(tmp_path / "whole.h5", "w") as file:
        file["st"], file["sv"] = whole, whole[:9]
    content, _, _ = describe(lab, movie=f"{tmp_path / 'whole.h5'}::st@1", name="whole")
    assert content["frame_rate_hz"] == 1.0
    assert content["stimuli"]["whole-02"] == f"{tmp_path / 'whole.h5'}::st[55.5:120]"
    with pytest.raises(ConfigError, match=r"arrays.run-1\.npy does not state its frame rate\. .*--frame-rate"):
        describe(lab, movie=arrays, name="no_rate")


@pytest.mark.parametrize("column", ["stim_file", "trial_type"])
@pytest.mark.parametrize("beside", [True, False])
def test_events_say_what_runs_show_and_repeats_are_tests(lab, tmp_path, column, beside):
    folder = lab / "stimuli" if beside else tmp_path / "films"
    for name in "abcd":
        write_movie(folder / f"{name}.mp4", 70)
    ending = ".mp4" if column == "stim_file" else ""
    shown = {"run-1": "a", "run-2": "bd", "run-3": "c", "run-4": "c"}
    write_events(lab, {run: [f"{name}{ending}" for name in names] for run, names in shown.items()}, column)
    content, path, recording = describe(lab, movie=None if beside else folder)
    assert content["stimuli"] == {
        name: f"stimuli/{name}.mp4" if beside else str(folder / f"{name}.mp4") for name in "abdc"
    }
    assert "runs" not in content
    assert content["options"]["test_runs"] == ["run-3", "run-4"]
    assert [run.stimulus for run in recording.runs][:2] == ["a", "b+d"]
    assert [run.role for run in load_recording(str(path), "11").runs] == ["train", "train", "test", "test"]


def test_choices_are_named_or_asked(lab, tmp_path):
    write_bids(lab, "surface", subject="sub-02")
    write_bids(lab, space="MNI", subject="sub-02")
    movie = write_movie(tmp_path / "film.mp4", sum(LENGTHS.values()) * TR_S)
    with pytest.raises(ConfigError, match=r"several kinds\. Choose with --kind: surface, volume\."):
        describe(lab, movie=movie)
    with pytest.raises(ConfigError, match=r"several spaces\. Choose with --space: MNI, T1w\."):
        describe(lab, movie=movie, kind="volume")
    with pytest.raises(ConfigError, match=r"--space fsaverage is not there\. Choose one of: MNI, T1w\."):
        describe(lab, movie=movie, kind="volume", space="fsaverage")
    assert not list((tmp_path / "here").iterdir())
    asked = []

    def ask(question, choices, flag):
        asked.append((flag, list(choices)))
        return choices[-1]

    path, recording = describe_dataset(DescribeConfig(lab, movie), "asked.yaml", ask=ask)
    assert asked == [("--kind", ["surface", "volume"]), ("--space", ["MNI", "T1w"])]
    assert yaml.safe_load(path.read_text())["options"]["space"] == "T1w"
    content, _, recording = describe(lab, movie=movie, kind="surface")
    assert content["options"]["space"] == "fsaverage5"
    assert recording.n_voxels == 18


def test_nothing_is_written_over_unless_it_is_asked_for(lab, tmp_path):
    movie = write_movie(tmp_path / "film.mp4", sum(LENGTHS.values()) * TR_S)
    (tmp_path / "here" / "my_lab.yaml").write_text("mine")
    with pytest.raises(ConfigError, match=r"my_lab\.yaml is there already\. .*--overwrite"):
        describe(lab, movie=movie)
    assert (tmp_path / "here" / "my_lab.yaml").read_text() == "mine"
    describe_dataset(DescribeConfig(lab, movie), overwrite=True)
    assert (tmp_path / "here" / "my_lab.yaml").read_text() != "mine"


def break_tr(lab, value):
    for path in lab.rglob("*_bold.json"):
        path.write_text(json.dumps({"RepetitionTime": value}))


def confounds_of(lab, subject="sub-02"):
    return sorted(lab.glob(f"derivatives/*/{subject}/func/*confounds*.tsv"))


def test_confounds_are_all_there_or_asked_for(lab, tmp_path, run):
    movie = write_movie(tmp_path / "film.mp4", sum(LENGTHS.values()) * TR_S)
    confounds_of(lab)[2].unlink()
    with pytest.raises(
        DataError, match=r"my_lab/02, run run-3: the table of confounds .* is missing, as of 1 of 4 runs"
    ):
        describe(lab, movie=movie)
    assert "confounds" not in describe(lab, movie=movie, confounds="none")[0]
    for path in confounds_of(lab):
        path.unlink()
    code, out, _ = run("data", "init", lab, "--movie", movie, "--out", "without.yaml")
    assert code == 0
    assert "Confounds: none\n" in out
    with pytest.raises(DataError, match=r"as of 4 of 4 runs"):
        describe(lab, movie=movie, confounds="simple", name="simple")
    with pytest.raises(ConfigError, match="Unknown confounds 'all'"):
        describe(lab, movie=movie, confounds="all", name="all")


def test_scans_before_the_steady_state_are_left_out(lab, tmp_path, run):
    movie = write_movie(tmp_path / "film.mp4", sum(LENGTHS.values()) * TR_S)
    for n_unsteady, path in enumerate(confounds_of(lab)):
        table = pd.read_csv(path, sep="\t")
        names = [f"non_steady_state_outlier{number:02d}" for number in range(n_unsteady)]
        spikes = pd.DataFrame(np.eye(len(table), n_unsteady, dtype=int), columns=names)
        pd.concat([table, spikes], axis=1).to_csv(path, sep="\t", index=False, na_rep="n/a")
    code, out, _ = run("data", "init", lab, "--movie", movie)
    assert code == 0
    assert "Confounds: motion; the first 3 scans of every run are left out\n" in out
    assert yaml.safe_load((tmp_path / "here" / "my_lab.yaml").read_text())["dummy_scans"] == 3


def test_runs_that_a_subject_lacks_are_told(lab, tmp_path, run):
    """The first subject has four; fMRIPrep has not written one of the second, and one more has events alone."""
    for name in "abcd":
        write_movie(lab / "stimuli" / f"{name}.mp4", 70)
    write_events(lab, {run: [f"{name}.mp4"] for run, name in zip(RUNS, "abcc", strict=True)})
    for path in lab.glob("derivatives/*/sub-11/func/*run-4*"):
        path.unlink()
    shutil.copy(
        lab / "sub-11/func/sub-11_task-movie_run-3_events.tsv", lab / "sub-11/func/sub-11_task-movie_run-9_events.tsv"
    )
    (lab / "sub-11/func/sub-11_task-rest_run-7_events.tsv").write_text("onset\tduration\n")
    code, _, err = run("data", "init", lab)
    assert code == 0
    told = " ".join(err.split())
    assert "my_lab/11, run run-4: no scans in" in told
    assert "my_lab/11, run run-9: no scans in" in told
    assert told.count("Note:") == 2
    with pytest.raises(
        DataError, match=r"my_lab/11, run run-4: test_runs of the manifest name it, but .* holds run-1, "
    ):
        load_recording("my_lab.yaml", "11")


@pytest.mark.parametrize("how", ["link", "named"])
def test_derivatives_may_lie_elsewhere(lab, tmp_path, how):
    movie = write_movie(tmp_path / "film.mp4", sum(LENGTHS.values()) * TR_S)
    (lab / "derivatives" / "fmriprep").rename(tmp_path / "scratch")
    if how == "link":
        (lab / "derivatives" / "fmriprep").symlink_to(tmp_path / "scratch")
        (lab / "derivatives" / "loop").symlink_to(lab)
    content, path, recording = describe(
        lab, movie=movie, derivatives=None if how == "link" else str(tmp_path / "scratch")
    )
    assert content["options"]["derivatives"] == str(tmp_path / "scratch")
    assert recording.runs[0].n_scans == LENGTHS["run-1"]
    if how == "link":
        path.write_text(path.read_text().replace(str(tmp_path / "scratch"), "derivatives/fmriprep"))
        with pytest.raises(DataError, match=rf"options: derivatives: {tmp_path / 'scratch'}\."):
            load_recording(str(path), "02")


def test_output_of_fmriprep_may_lie_in_derivatives_itself(lab, tmp_path):
    movie = write_movie(tmp_path / "film.mp4", sum(LENGTHS.values()) * TR_S)
    for path in (lab / "derivatives" / "fmriprep").iterdir():
        path.rename(lab / "derivatives" / path.name)
    assert describe(lab, movie=movie)[0]["options"]["derivatives"] == "derivatives"


def test_subjects_are_names_and_no_numbers(lab, tmp_path):
    for folder in (lab, lab / "derivatives" / "fmriprep"):
        (folder / "sub-11").rename(folder / "sub-08")
    for path in [*lab.glob("**/sub-08/func/*")]:
        path.rename(path.with_name(path.name.replace("sub-11", "sub-08")))
    movie = write_movie(tmp_path / "film.mp4", sum(LENGTHS.values()) * TR_S)
    _, path, _ = describe(lab, movie=movie)
    assert "- '02'\n- '08'\n" in path.read_text()


def lose_tr(lab):
    for path in lab.rglob("*_bold.json"):
        path.unlink()


def lose_mask(lab):
    next(lab.glob("derivatives/*/sub-02/func/*run-2*mask*")).unlink()


def lose_derivatives(lab):
    (lab / "derivatives").rename(lab / "other")


def name_absent_files(lab):
    write_events(lab, {run: ["gone.mp4"] for run in RUNS})


FILM = {"movie": "film.mp4"}
BROKEN = [
    (None, {"movie": "short.mp4"}, DataError, r"\(228 s in all\) and movies of 30\.0 s cannot be matched"),
    (None, {}, ConfigError, r"nothing says what run run-1 showed.*run-1_events\.tsv, write it"),
    (None, {"movie": "absent.mp4"}, ConfigError, r"absent\.mp4 does not exist"),
    (None, {"movie": "films"}, ConfigError, "holds no movie"),
    (None, {**FILM, "tr_s": 1.4}, ConfigError, "files of my_lab/02 state 1.5 s, but --tr is 1.4 s"),
    (None, {**FILM, "tr_s": -1.0}, ConfigError, "tr_s must be a positive number"),
    (lose_tr, {**FILM, "tr_s": 1500.0}, ConfigError, r"--tr 1500 looks like milliseconds\. State seconds: --tr 1\.5\."),
    (None, {**FILM, "name": "a/b"}, ConfigError, "letters, digits"),
    (None, {**FILM, "test_runs": ("run-9",)}, ConfigError, r"No run is named run-9\. There are: run-1"),
    (None, {**FILM, "atlas": "absent.nii.gz"}, ConfigError, r"absent\.nii\.gz does not exist"),
    (partial(break_tr, value=1500), FILM, DataError, "looks like milliseconds.* correct them to 1.5"),
    (partial(break_tr, value="fast"), FILM, DataError, r"run-1: .*_bold\.json states .* 'fast'"),
    (lose_tr, FILM, ConfigError, "State it in seconds with --tr"),
    (lose_derivatives, FILM, DataError, "holds no preprocessed scans"),
    (lose_mask, FILM, DataError, "No manifest is written: my_lab/02, run run-2: .*brain mask"),
    (name_absent_files, {}, DataError, r"run-1_events\.tsv names gone\.mp4"),
]


@pytest.mark.parametrize(("change", "fields", "error", "why"), BROKEN)
def test_what_does_not_work_is_said_and_nothing_is_written(lab, tmp_path, change, fields, error, why):
    if change:
        change(lab)
    write_movie(tmp_path / "film.mp4", sum(LENGTHS.values()) * TR_S)
    write_movie(tmp_path / "short.mp4", 30)
    (tmp_path / "films").mkdir()
    fields = {key: tmp_path / value if key in ("movie", "atlas") else value for key, value in fields.items()}
    with pytest.raises(error, match=why):
        describe(lab, **fields)
    assert not list((tmp_path / "here").iterdir())


def test_repetition_time_may_be_stated_where_no_file_does(lab, tmp_path):
    lose_tr(lab)
    movie = write_movie(tmp_path / "film.mp4", sum(LENGTHS.values()) * TR_S)
    content, _, _ = describe(lab, movie=movie, tr_s=TR_S)
    assert content["options"]["check_tr"] is False


def test_output_of_fmriprep_may_lie_by_itself(lab, tmp_path):
    movie = write_movie(tmp_path / "film.mp4", sum(LENGTHS.values()) * TR_S)
    content, path, recording = describe(lab / "derivatives" / "fmriprep", movie=movie, tr_s=TR_S, name="alone")
    assert content["options"]["derivatives"] == "."
    assert recording.tr_s == TR_S
    assert load_recording(str(path), "11").runs[1].n_scans == LENGTHS["run-2"]


def test_command_line_writes_what_decoding_takes(lab, tmp_path, run, monkeypatch):
    movie = write_movie(tmp_path / "film.mp4", sum(LENGTHS.values()) * TR_S)
    code, out, err = run("data", "init", lab, "--movie", movie, "--test-runs", "run-2", "run-4", "--out", "lab.yaml")
    assert (code, err) == (0, "")
    assert "run-4: test, 41 scans of 1.5 s, shows film-04" in out
    assert "Next: brainpred decode --dataset lab.yaml --subject 02" in out
    code, out, err = run("data", "verify", "lab.yaml", "--quiet")
    assert code == 0
    assert re.search(r"36 of 36 present", out)
    assert run("data", "init", lab, "--movie", movie, "--out", "lab.yaml")[0] == 2
    assert run("data", "init", tmp_path / "nowhere")[0] == 2


def test_command_line_asks_at_a_terminal(lab, tmp_path, run, monkeypatch):
    write_bids(lab, "surface", subject="sub-02")
    movie = write_movie(tmp_path / "film.mp4", sum(LENGTHS.values()) * TR_S)
    assert run("data", "init", lab, "--movie", movie)[0] == 2
    answers = iter(["7", "x", "2"])
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("typer.prompt", lambda *args, **options: next(answers))
    code, out, _ = run("data", "init", lab, "--movie", movie)
    assert code == 0
    assert "  1: surface\n  2: volume\n" in out
    assert yaml.safe_load((tmp_path / "here" / "my_lab.yaml").read_text())["options"]["kind"] == "volume"

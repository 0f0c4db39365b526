"""Whatever is wrong with manifests, archives, movies and designs: one line with file, subject or run and remedy."""

import hashlib
import shutil
import tarfile
import zipfile

import h5py
import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from brainpred.models.prednet import PredNet
from brainpred.models.prednet_weights import save_prednet
from brainpred.movies.video import write_video
from brainpred.recordings import archives
from tests.movies.files import numbered_frames, write_pictures
from tests.recordings.layouts import LENGTHS, TR_S, write_bids, write_manifest

FPS = 4
RUN = "toy/sub-01, run run-2"
SCANS_OF_RUN_2 = LENGTHS["run-2"]  # 64.5 s


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """Write four runs, a movie for each, and a tiny network; tests break copies."""
    folder = tmp_path_factory.mktemp("lab")
    write_bids(folder / "toy")
    for name, n_scans in LENGTHS.items():
        write_film(folder / "toy" / "stimuli" / f"{name}.mp4", n_scans * TR_S)
    network = PredNet((3, 4))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(0.2 * torch.randn(parameter.shape, generator=generator))
    save_prednet(network, folder / "tiny.safetensors", frame_size=(8, 12))
    return folder


def write_film(path, duration_s, times_s=None):
    path.parent.mkdir(exist_ok=True)
    frames = numbered_frames(round(duration_s * FPS), 16, 24)
    write_video(path, frames if times_s is None else frames[: len(times_s)], FPS, times_s=times_s)


@pytest.fixture
def refused(run, lab, tmp_path, monkeypatch):
    """Break a copy of the data set, decode it, and check what every refusal has in common; give its message."""
    monkeypatch.setenv("BRAINPRED_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("BRAINPRED_DATA", raising=False)

    def check(damage=lambda folder: None, *more, code=1, **fields):
        shutil.copytree(lab / "toy", tmp_path / "data" / "toy")
        damage(tmp_path / "data" / "toy")
        stimuli = {name: f"stimuli/{name}.mp4" for name in LENGTHS} | fields.pop("stimuli", {})
        runs = [{"name": name, "role": "train", "stimulus": name} for name in LENGTHS]
        asked = {"options": {"task": "movie"}, "stimuli": stimuli, "runs": runs} | fields
        manifest = write_manifest(tmp_path / "toy.yaml", asked.pop("reader", "bids"), **asked)
        found, text, err = run(
            "decode", "--dataset", manifest, "--subject", "sub-01", "--data", tmp_path / "data", "--out",
            tmp_path / "out", "--weights", lab / "tiny.safetensors", "--layers", "R0", "--device", "cpu", "--quiet",
            *more,
        )  # fmt: skip
        return judge(found, text, err, tmp_path / "out", code)

    return check


def judge(found, text, err, out, code=1):
    """Check that a command failed in one line and wrote nothing; give what it said."""
    assert (found, text) == (code, ""), err
    assert err.startswith("Error: ")
    assert err.count("\n") == 1, err
    assert not out.exists(), "something was written"
    return err.removeprefix("Error: ").strip()


def says(message, *words):
    for word in words:
        assert word in message, message


# ------------------------------------------------------------------------------------------------- manifests

BAD_MANIFESTS = {
    "unknown entry": ({"repetition_time": 2.0}, "toy.yaml is malformed: repetition_time: extra inputs", "template"),
    "entry missing": ({"licence": None}, "licence: input should be a valid string, received None", "template.yaml"),
    "number that is none": ({"tr_s": "fast"}, "tr_s: input should be a valid number", "received 'fast'"),
    "name that leads out": ({"mask": "../mask.nii.gz"}, "mask: '../mask.nii.gz' leads out of the data set's folder"),
    "run without its stimulus": (
        {"runs": [{"name": "run-1", "role": "train", "stimulus": "film"}]},
        "run run-1 shows film, but the stimuli are run-1", "add it to them",
    ),
    "scans that are none": (
        {"runs": [{"name": "a", "role": "train", "scans": [7, 7]}]}, "run a keeps no scan from 7 up to 7: give [first",
    ),
    "scans without an end": ({"runs": [{"name": "a", "role": "train", "scans": [7]}]}, "runs.0.scans", "2 items"),
    "two runs of one name": ({"runs": [{"name": "a", "role": "train"}] * 2}, "there are several a"),
    "role that is none": ({"runs": [{"name": "a", "role": "rest"}]}, "runs.0.role", "'train' or 'test'", "'rest'"),
    "ROIs given twice": (
        {"rois": {"V1": "v1.nii"}, "atlas": {"image": "a.nii", "labels": "a.tsv"}}, "either rois or an atlas",
    ),
    "reader there is not": ({"reader": "minc"}, "toy: no reader 'minc'", "There are: simulated"),
    "option the reader does not know": ({"options": {"kindd": "volume"}}, "kindd", "It understands: kind"),
    "braces there are not": ({"mask": "{task}.nii.gz"}, "'{task}.nii.gz' may hold {subject}, {session}, {run}"),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD_MANIFESTS)
def test_malformed_manifest(refused, what):
    fields, *words = BAD_MANIFESTS[what]
    says(refused(**fields), "toy", *words)


@pytest.mark.parametrize("content", ["name: [", "- a\n- b\n", "name: toy\n"])
def test_file_that_is_no_manifest(run, tmp_path, content):
    (tmp_path / "toy.yaml").write_text(content)
    out = tmp_path / "out"
    message = judge(*run("decode", "--dataset", tmp_path / "toy.yaml", "--subject", "s", "--out", out), out)
    says(message, "toy.yaml is malformed")


def test_unknown_data_set_subject_and_folder_are_usage(run, refused, tmp_path):
    out = tmp_path / "out"
    message = judge(*run("decode", "--dataset", "nothing", "--subject", "s", "--out", out), out, 2)
    says(message, "Unknown data set 'nothing'", "vim2")
    says(refused(subjects=["sub-02"], code=2), "Unknown subject 'sub-01' in data set toy. It has: sub-02")
    message = judge(*run("data", "verify", "vim2", "--data", tmp_path / "absent"), out, 2)
    says(message, "does not exist", "BRAINPRED_DATA")


@pytest.mark.parametrize("name", ["stimuli/run-2.mp4", "mask.nii.gz"])
def test_link_out_of_the_data_folder(refused, tmp_path, name):
    (tmp_path / "secret").write_bytes(b"")

    def damage(folder):
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(tmp_path / "secret")

    message = refused(damage, **({"mask": name} if name.startswith("mask") else {}))
    says(message, "toy", name, "is a link to", "secret", "Put the file itself there")


# -------------------------------------------------------------------------------------------------- archives


@pytest.fixture
def fetched(run, tmp_path):
    """Put an archive where a fetch would, unpack it by the command, and give what is said."""

    def check(path, **changes):
        folder = tmp_path / "data" / "toy"
        folder.mkdir(parents=True)
        shutil.move(path, folder / path.name)
        digest = hashlib.sha256((folder / path.name).read_bytes()).hexdigest()
        download = {"file": path.name, "url": f"http://127.0.0.1:9/{path.name}", "sha256": digest, "unpack": True}
        manifest = write_manifest(tmp_path / "toy.yaml", "bids", downloads=[download | changes])
        found, text, err = run("data", "fetch", manifest, "--data", tmp_path / "data", "--quiet")
        assert [item.name for item in folder.iterdir()] == [path.name]
        return judge(found, text, err, tmp_path / "outside.txt")

    return check


@pytest.mark.parametrize("name", ["../../outside.txt", "/outside.txt", "..\\outside.txt"])
def test_zip_that_writes_elsewhere(fetched, tmp_path, name):
    with zipfile.ZipFile(tmp_path / "data.zip", "w") as packed:
        packed.writestr("fine.txt", "")
        packed.writestr(zipfile.ZipInfo(name), "")
    says(
        fetched(tmp_path / "data.zip"), "data.zip holds the name", "leads out", "Nothing was unpacked", "another place"
    )


def test_tar_with_a_link_out(fetched, tmp_path):
    with tarfile.open(tmp_path / "data.tar", "w") as packed:
        entry = tarfile.TarInfo("link")
        entry.type, entry.linkname = tarfile.SYMTYPE, "../../outside.txt"
        packed.addfile(entry)
    says(fetched(tmp_path / "data.tar"), "data.tar holds a link link to '../../outside.txt'", "do not trust it")


@pytest.mark.parametrize("kept", [0.3, 0.95])
def test_truncated_archive(fetched, tmp_path, kept):
    with zipfile.ZipFile(tmp_path / "data.zip", "w") as packed:
        packed.writestr("bold.nii", np.random.default_rng(0).bytes(5000))
    content = (tmp_path / "data.zip").read_bytes()
    (tmp_path / "data.zip").write_bytes(content[: int(kept * len(content))])
    says(fetched(tmp_path / "data.zip"), "data.zip cannot be read", "Delete it and fetch it again")


def test_disk_too_small_for_an_archive(fetched, tmp_path, monkeypatch):
    with zipfile.ZipFile(tmp_path / "data.zip", "w") as packed:
        packed.writestr("bold.nii", bytes(5000))
    monkeypatch.setattr(archives.shutil, "disk_usage", lambda folder: type("Usage", (), {"free": 4999}))
    says(fetched(tmp_path / "data.zip"), "data.zip holds 0.0 GB", "Make room")


def test_download_that_cannot_be_reached(run, tmp_path, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    (tmp_path / "data").mkdir()
    download = {"file": "a.zip", "url": "http://127.0.0.1:9/a.zip", "sha256": "0" * 64}
    manifest = write_manifest(tmp_path / "toy.yaml", "bids", downloads=[download])
    out = tmp_path / "data" / "toy"
    message = judge(*run("data", "fetch", manifest, "--data", tmp_path / "data", "--quiet"), out)
    says(message, "Cannot download http://127.0.0.1:9/a.zip", "refused", f"put it into {out} by hand")


# ---------------------------------------------------------------------------------------------------- movies


def test_missing_movie(refused):
    message = refused(lambda folder: (folder / "stimuli" / "run-2.mp4").unlink())
    says(message, RUN, "stimuli/run-2.mp4 does not exist")


def test_truncated_movie(refused):
    def damage(folder):
        path = folder / "stimuli" / "run-2.mp4"
        path.write_bytes(path.read_bytes()[:-2000])

    says(refused(damage), RUN, "stimuli/run-2.mp4 cannot be opened as a video", "truncated or not a video file")


def test_file_that_is_no_movie(refused):
    message = refused(lambda folder: (folder / "stimuli" / "run-2.mp4").write_text("<html>404</html>"))
    says(message, RUN, "stimuli/run-2.mp4 cannot be opened as a video")


@pytest.mark.parametrize("duration_s", [60, 70])
def test_movie_and_scan_of_other_lengths(refused, duration_s):
    message = refused(lambda folder: write_film(folder / "stimuli" / "run-2.mp4", duration_s))
    says(message, RUN, f"its {SCANS_OF_RUN_2} scans last 64.50 s", f"its movie run-2.mp4 {duration_s}.00 s",
         "differ by one TR (1.5 s) at the most")  # fmt: skip


def test_movie_that_skips_a_scan(refused):
    times_s = [second / FPS for second in range(round(SCANS_OF_RUN_2 * TR_S * FPS)) if not 100 <= second < 115]
    message = refused(lambda folder: write_film(folder / "stimuli" / "run-2.mp4", 64.5, times_s))
    says(message, "toy/sub-01", "run-2.mp4: its frames", "do not fill scans of 1.5 s without a gap; scan 17 has none")


def test_run_without_a_movie(refused):
    runs = [{"name": name, "role": "train", "stimulus": name} for name in LENGTHS]
    del runs[1]["stimulus"]
    says(refused(runs=runs), "toy/sub-01, run run-2", "run-2_events.tsv is missing")


LISTS = {
    "clips that overlap": (
        "0 40 run-2.mp4",
        "30 34.5 run-3.mp4",
        "Clips overlap:",
        "run-2.mp4 is shown from 0 to 40 s",
    ),
    "clip shorter than listed": ("0 64.5 run-3.mp4", "", "run-3.mp4 is to be shown for 64.50 s", "46.50 s are there"),
    "clip from beyond its end": ("0 10 run-3.mp4[50:]", "", "run-3.mp4 lasts 46.50 s, so nothing is left from 50 s on"),
    "onset that is no number": (
        "soon 10 run-3.mp4",
        "",
        "clips.tsv, line 2: could not convert string to float: 'soon'",
    ),
    "clip that lasts less than no time": ("0 -1 run-3.mp4", "", "line 2:", "must last longer than 0 s"),
    "file there is not": ("0 64.5 gone.mp4", "", "gone.mp4 does not exist"),
    "no file named": ("0 64.5 n/a", "", "clips.tsv names no file in its column file"),
}


@pytest.mark.parametrize("what", LISTS)
def test_clip_list(refused, what):
    first, second, *words = LISTS[what]
    text = "\n".join("\t".join(row.split()) for row in ("onset duration file", first, second)).strip() + "\n"

    def damage(folder):
        (folder / "stimuli" / "clips.tsv").write_text(text)

    says(refused(damage, stimuli={"run-2": "stimuli/clips.tsv"}), RUN, *words)


def test_clip_list_without_its_columns(refused):
    def damage(folder):
        (folder / "stimuli" / "clips.tsv").write_text("start\tfilm\n0\trun-1.mp4\n")

    message = refused(damage, stimuli={"run-2": "stimuli/clips.tsv"})
    says(message, RUN, "clips.tsv must have the columns onset, duration and file (or stim_file), found start, film")


def add_picture(folder, name, height=11):
    Image.fromarray(numbered_frames(1, height, 17)[0]).save(folder / name)


PICTURES = {
    "no rate": ("", lambda folder: None, "do not state their frame rate", "frame_rate_hz in the manifest"),
    "no pictures": ("@4", lambda folder: [path.unlink() for path in folder.iterdir()], "holds no pictures"),
    "one number twice": ("@4", lambda folder: add_picture(folder, "b_3.png"), "have the same number"),
    "another size": ("@4", lambda folder: add_picture(folder, "shot2_9.png", 13), "shot2_9.png is 13x17 pixels, but"),
    "damaged picture": ("@4", lambda folder: (folder / "shot2_9.png").write_text(""), "shot2_9.png cannot be read"),
}


@pytest.mark.parametrize("what", PICTURES)
def test_folder_of_pictures(refused, what):
    rate, change, *words = PICTURES[what]

    def damage(folder):
        write_pictures(folder / "stimuli" / "pictures", numbered_frames(round(SCANS_OF_RUN_2 * TR_S * 4)))
        change(folder / "stimuli" / "pictures")

    says(refused(damage, stimuli={"run-2": f"stimuli/pictures{rate}"}), "toy/sub-01", "pictures", *words)


ARRAYS = {
    "no rate": ("frames.h5::st", np.zeros((258, 5, 7), np.uint8), "do not state their rate", "frame_rate_hz"),
    "data set there is not": (
        "frames.h5::sv@4",
        np.zeros((258, 5, 7), np.uint8),
        "holds no array sv, but st (258, 5, 7)",
    ),
    "shape of no frames": ("frames.h5::st@4", np.zeros((258, 5, 7, 9), np.uint8), "has the shape (258, 5, 7, 9), but"),
    "numbers of no frames": ("frames.h5::st@4", np.zeros((258, 5, 7), np.int16), "holds int16, but frames are uint8"),
    "NaN": ("frames.h5::st@4", np.full((258, 5, 7), np.nan, np.float32), "holds NaN or values outside 0 to 1"),
}


@pytest.mark.parametrize("what", ARRAYS)
def test_array_of_frames(refused, what):
    address, array, *words = ARRAYS[what]

    def damage(folder):
        with h5py.File(folder / "stimuli" / "frames.h5", "w") as file:
            file["st"] = array

    says(refused(damage, stimuli={"run-2": f"stimuli/{address}"}), "toy/sub-01", "frames.h5", *words)


@pytest.mark.parametrize("what", ["pickled objects", "truncated", "no MATLAB"])
def test_file_of_frames_that_cannot_be_opened(refused, what):
    name = {"pickled objects": "frames.npy", "truncated": "frames.h5", "no MATLAB": "frames.mat"}[what]

    def damage(folder):
        path = folder / "stimuli" / name
        if what == "pickled objects":
            np.save(path, np.array([{}], dtype=object), allow_pickle=True)
        elif what == "truncated":
            with h5py.File(path, "w") as file:
                file["st"] = numbered_frames(258)
            path.write_bytes(path.read_bytes()[:3000])
        else:
            path.write_bytes(b"MATLAB 5.0 MAT-file" + bytes(500))

    reason = {"pickled objects": "holds object, and no numbers", "truncated": "truncated file", "no MATLAB": "version"}
    says(refused(damage, stimuli={"run-2": f"stimuli/{name}@4"}), RUN, "Movie: ", name, reason[what])


# --------------------------------------------------------------------------------------------------- designs


def test_clip_that_is_trained_on_and_tested(refused):
    runs = [{"name": name, "role": "train", "stimulus": name} for name in LENGTHS]
    runs[3] |= {"role": "test", "stimulus": "run-1"}
    says(refused(runs=runs), "toy/sub-01: train run run-1 and test run run-4 both show", "run-1.mp4 from 0 to 55.5 s",
         "give those runs one role")  # fmt: skip


def test_run_that_is_listed_and_not_there(refused):
    runs = [{"name": name, "role": "train", "stimulus": "run-1"} for name in [*LENGTHS, "run-9"]]
    says(refused(runs=runs), "toy/sub-01, run run-9: the manifest lists it", "take it out of the manifest")


def test_movie_that_begins_at_another_time_than_stated(refused):
    runs = [{"name": name, "role": "train", "stimulus": name} for name in LENGTHS]
    runs[1] |= {"onset_s": 12.0}
    says(refused(runs=runs), RUN, f"its {SCANS_OF_RUN_2} scans last 64.50 s", "76.50 s")


def test_repetition_time_of_another_scan(refused):
    says(refused(tr_s=2.0), "toy/sub-01, run run-1", "states a repetition time of 1.5 s, the manifest 2 s", "Correct")


def test_manifest_that_is_there_is_not_written_over(run, lab, tmp_path):
    (tmp_path / "toy.yaml").write_text(yaml.safe_dump({}))
    message = judge(*run("data", "init", lab / "toy", "--out", tmp_path / "toy.yaml"), tmp_path / "out", 2)
    says(message, "toy.yaml is there already", "--overwrite")
    assert (tmp_path / "toy.yaml").read_text() == "{}\n"

"""Verifying finds what is present, missing and corrupt, and reads every run."""

import hashlib
import zipfile

import h5py
import nibabel as nib
import numpy as np
import pytest
import yaml

from brainpred.errors import ConfigError
from brainpred.movies.video import write_video
from brainpred.studies.verify import CORRUPT, MISSING, PRESENT, verify_dataset

N_SCANS = 13


@pytest.fixture
def toy(tmp_path):
    """Write a data set of two subjects, a movie and a download, and its manifest."""
    folder = tmp_path / "data" / "toy"
    rng = np.random.default_rng(0)
    for subject in ("s1", "s2"):
        (folder / subject).mkdir(parents=True)
        for name, values in (("bold", rng.normal(size=(3, 4, 5, N_SCANS))), ("mask", np.ones((3, 4, 5)))):
            nib.save(nib.Nifti1Image(values.astype(np.float32), np.eye(4)), folder / subject / f"{name}.nii.gz")
        (folder / subject / "attributes.txt").write_text("".join(f"rest {scan // 7}\n" for scan in range(N_SCANS)))
    write_video(folder / "film.mp4", rng.integers(0, 256, (30, 16, 24, 3), dtype=np.uint8), 10)
    with zipfile.ZipFile(folder / "more.zip", "w") as packed:
        packed.writestr("more.txt", "more")
    (folder / "more.txt").write_text("more")
    content = {
        "name": "toy", "title": "A toy", "licence": "none", "citation": "nobody", "access": "Ask the lab.",
        "reader": "attributes", "subjects": ["s1", "s2"], "tr_s": 1.7, "stimuli": {"film": "film.mp4[0:2]"},
        "files": {name: f"{{subject}}/{name}.nii.gz" for name in ("bold", "mask")}
        | {"attributes": "{subject}/attributes.txt"},
        "downloads": [
            {"file": "more.zip", "url": "https://example.org/more.zip", "unpack": True,
             "sha256": hashlib.sha256((folder / "more.zip").read_bytes()).hexdigest()}
        ],
    }  # fmt: skip
    (tmp_path / "toy.yaml").write_text(yaml.safe_dump(content))
    return folder


def verify(toy, **options):
    return verify_dataset(str(toy.parents[1] / "toy.yaml"), toy.parent, **options)


def wrong(checks):
    return {(check.subject, check.what): check for check in checks if check.state != PRESENT}


def test_everything_is_present(toy):
    checks = verify(toy)
    assert wrong(checks) == {}
    found = {(check.subject, check.what): check for check in checks}
    assert len(found) == len(checks) == 2 + 2 * (3 + 2)
    assert found["", "download"].detail == "checksum as stated"
    assert found["", "clip film"].detail == "20 frames of 16x24, 2.0 s"
    assert found["s2", "bold"].file == "s2/bold.nii.gz"
    assert found["s2", "run run-01"].detail == "7 scans of 60 voxels"
    assert found["s2", "run run-02"].detail == "6 scans of 60 voxels"


def test_missing_files_are_named_with_how_to_get_them(toy):
    (toy / "s1" / "mask.nii.gz").unlink()
    for name in ("film.mp4", "more.zip"):
        (toy / name).unlink()
    found = wrong(verify(toy))
    assert set(found) == {("s1", "mask"), ("", "clip film"), ("", "download")}
    assert {check.state for check in found.values()} == {MISSING}
    assert found["s1", "mask"].file == "s1/mask.nii.gz"
    assert found["", "download"].detail == "Run: brainpred data fetch toy"


def test_folder_of_movies_is_played_file_by_file(toy):
    path = toy.parents[1] / "toy.yaml"
    path.write_text(path.read_text().replace("film.mp4[0:2]", "films"))
    (toy / "films").mkdir()
    for name in "ab":
        (toy / "films" / f"{name}.mp4").write_bytes((toy / "film.mp4").read_bytes())
    assert {check.detail for check in verify(toy, subjects=["s1"]) if check.what == "clip film"} == {"2 movies"}
    (toy / "films" / "b.mp4").write_bytes(b"")
    (check,) = wrong(verify(toy, subjects=["s1"])).values()
    assert (check.what, check.state) == ("clip film", CORRUPT)
    assert "b.mp4" in check.detail


def test_what_was_in_an_archive_is_looked_for(toy):
    (toy / "more.txt").unlink()
    assert [(check.what, check.file) for check in wrong(verify(toy)).values()] == [("unpacked", "more.txt")]


@pytest.mark.parametrize(
    ("name", "what", "why"),
    [
        ("s2/bold.nii.gz", ("s2", "recording"), "toy/s2"),
        ("s2/mask.nii.gz", ("s2", "recording"), "mask.nii.gz"),
        ("film.mp4", ("", "clip film"), "film.mp4"),
        ("more.zip", ("", "download"), "checksum is another"),
    ],
)
def test_truncated_files_are_corrupt(toy, name, what, why):
    content = (toy / name).read_bytes()
    (toy / name).write_bytes(content[: len(content) // 2])
    found = wrong(verify(toy))
    assert set(found) in ({what}, {("s2", "run run-01"), ("s2", "run run-02")})
    assert {check.state for check in found.values()} == {CORRUPT}
    assert why in next(iter(found.values())).detail


def test_scans_that_hold_nan_and_links_out_are_corrupt(toy, tmp_path):
    image = nib.load(toy / "s1" / "bold.nii.gz")
    values = np.array(np.asanyarray(image.dataobj))
    values[1, 1, 1, 3] = np.nan
    nib.save(nib.Nifti1Image(values, np.eye(4)), toy / "s1" / "bold.nii.gz")
    (toy / "s2" / "mask.nii.gz").rename(tmp_path / "mask.nii.gz")
    (toy / "s2" / "mask.nii.gz").symlink_to(tmp_path / "mask.nii.gz")
    found = wrong(verify(toy))
    assert set(found) == {("s1", "run run-01"), ("s2", "mask")}
    assert "1 of 60 voxels hold NaN" in found["s1", "run run-01"].detail
    assert "is a link to" in found["s2", "mask"].detail


def test_data_set_there_is_not_is_missing(tmp_path):
    checks = verify_dataset("bold_moments", tmp_path, subjects=["01", "02"])
    assert [(check.subject, check.state) for check in checks] == [("01", MISSING), ("02", MISSING)]
    assert {check.state for check in verify_dataset("vim2", tmp_path, subjects=["subject1"])} == {MISSING}


def test_only_the_subjects_wanted_are_read(toy):
    (toy / "s1" / "mask.nii.gz").unlink()
    assert wrong(verify(toy, subjects=["s2"])) == {}
    with pytest.raises(ConfigError, match="Unknown subject 's3'"):
        verify(toy, subjects=["s3"])


def test_files_of_runs_sessions_and_hemispheres_are_looked_for(toy):
    path = toy.parents[1] / "toy.yaml"
    content = yaml.safe_load(path.read_text())
    content |= {
        "reader": "bids", "stimuli": {}, "downloads": [], "sessions": ["1", "2"], "subjects": ["s1"],
        "files": {"bold": "{subject}/ses-{session}/{run}_{hemi}.gii"}, "mask": "mask_{hemi}.gii",
        "runs": [{"name": "a", "role": "train", "session": "1"},
                 {"name": "b", "role": "test", "session": "2", "files": {"bold": "{subject}/other_{run}.gii"}}],
    }  # fmt: skip
    path.write_text(yaml.safe_dump(content))
    (toy / "mask_L.gii").touch()
    found = {check.file: check.state for check in verify(toy)}
    assert found == {
        "mask_L.gii": PRESENT, "mask_R.gii": MISSING, "s1/ses-1/a_L.gii": MISSING, "s1/ses-1/a_R.gii": MISSING,
        "s1/other_b.gii": MISSING,
    }  # fmt: skip


def test_simulated_subjects_are_read_or_said_to_be_made_on_first_use(tiny_data):
    found = verify_dataset("simulated", tiny_data, subjects=["sim01", "sim02"])
    assert [(check.subject, check.state) for check in found] == [("sim01", PRESENT)] * 5 + [("sim02", MISSING)]
    assert "brainpred data simulate --subject sim02" in found[-1].detail


def test_damaged_simulated_subject_is_corrupt(tmp_path):
    (tmp_path / "simulated" / "sim01").mkdir(parents=True)
    with h5py.File(tmp_path / "simulated" / "sim01" / "recording.h5", "w"):
        pass
    (check,) = verify_dataset("simulated", tmp_path, subjects=["sim01"])
    assert check.state == CORRUPT


def test_table_says_what_is_there_and_the_exit_code_whether_all_is(toy, run, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    manifest = toy.parents[1] / "toy.yaml"
    code, out, err = run("data", "verify", manifest, "--data", toy.parent, "--quiet")
    assert (code, err) == (0, "")
    assert "12 of 12 present." in out
    (toy / "s1" / "mask.nii.gz").unlink()
    code, out, err = run("data", "verify", manifest, "--subjects", "s1", "s2", "--data", toy.parent, "--quiet")
    assert (code, err) == (1, "")
    row = next(line for line in out.splitlines() if "s1/mask.nii.gz" in line)
    assert "missing" in row
    assert "9 of 10 present.\nWhat is missing: Ask the lab.\n" in out
    assert run("data", "verify", manifest, "--subjects", "s9", "--data", toy.parent)[0] == 2
    assert run("data", "verify", "nothing")[0] == 2

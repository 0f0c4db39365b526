"""`brainpred features`: movies named one by one or by subject in, one file of units a movie out."""

import h5py
import numpy as np
import pytest
import torch

from brainpred.features import extract
from brainpred.features.extract import FeatureConfig, extract_features
from brainpred.models.prednet import PredNet
from brainpred.models.prednet_weights import save_prednet
from brainpred.movies.video import write_video
from tests.movies.files import numbered_frames, write_matlab, write_pictures

FPS = 7


@pytest.fixture
def weights(tmp_path, monkeypatch):
    """Give a tiny network, and a cache of its own."""
    monkeypatch.setenv("BRAINPRED_CACHE", str(tmp_path / "cache"))
    network = PredNet((3, 4, 5))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(0.2 * torch.randn(parameter.shape, generator=generator))
    save_prednet(network, tmp_path / "tiny.safetensors", frame_size=(8, 12))
    return tmp_path / "tiny.safetensors"


def write_movie(path, n_frames, seed=0):
    path.parent.mkdir(exist_ok=True)
    frames = np.random.default_rng(seed).integers(0, 256, (n_frames, 4, 6, 3)).repeat(4, 1).repeat(4, 2)
    write_video(path, frames.astype(np.uint8), FPS)
    return path


def refuse(*_args, **_kwargs):
    raise AssertionError("something was computed")


def check_file(path, movie, config):
    expected = extract_features(movie, config, device="cpu")
    with h5py.File(path) as file:
        assert sorted(file) == sorted(expected)
        for unit, values in expected.items():
            np.testing.assert_allclose(file[unit][()].T, values.reshape(len(values), -1), rtol=0, atol=1e-5)


def test_several_movies_give_a_file_each(run, weights, tmp_path):
    movies = [write_movie(tmp_path / f"{name}.mp4", n, seed=n) for name, n in (("a", 15), ("b", 22))]
    out = tmp_path / "out"
    code, text, err = run("features", "--movie", *movies, "--weights", weights, "--out", out, "--quiet")
    assert (code, err) == (0, "")
    assert sorted(path.name for path in out.iterdir()) == ["a_features.h5", "b_features.h5"]
    assert text.splitlines() == [
        "R0: 2 x 3x8x12", "R1: 2 x 4x4x6", "R2: 2 x 5x2x3", f"Written: {out / 'a_features.h5'}",
        "R0: 3 x 3x8x12", "R1: 3 x 4x4x6", "R2: 3 x 5x2x3", f"Written: {out / 'b_features.h5'}",
    ]  # fmt: skip
    for movie in movies:
        check_file(out / f"{movie.stem}_features.h5", movie, FeatureConfig(weights=weights))


def test_options_reach_the_features(run, weights, tmp_path):
    movie = write_movie(tmp_path / "clip.mp4", 31)
    code, text, err = run(
        "features", "--movie", movie, "--units", "E1", "Ahat0", "--pooling", "lanczos", "--tr", "0.9", "--size", "8x16",
        "--dtype", "float16", "--precision", "bfloat16", "--pieces", "2", "--burn-in", "1.8", "--weights", weights,
        "--out", tmp_path / "new" / "clip.h5", "--device", "cpu", "--quiet",
    )  # fmt: skip
    assert (code, err) == (0, "")
    assert text.splitlines()[:2] == ["Ahat0: 4 x 3x8x16", "E1: 4 x 8x4x8"]
    with h5py.File(tmp_path / "new" / "clip.h5") as file:
        assert sorted(file) == ["Ahat0", "E1"]
        assert file["E1"].dtype == np.float16
        given = {name: file.attrs[name] for name in ("tr_s", "pooling", "dtype", "precision", "pieces", "burn_in_s")}
    assert given == {
        "tr_s": 0.9, "pooling": "lanczos", "dtype": "float16", "precision": "bfloat16", "pieces": 2, "burn_in_s": 2.7,
    }  # fmt: skip


def test_files_are_written_here_by_default(run, weights, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    movie = write_movie(tmp_path / "clip.mp4", 15)
    assert run("features", "--movie", movie, "--weights", weights, "--quiet")[0] == 0
    assert [path.name for path in (tmp_path / "here").iterdir()] == ["clip_features.h5"]


def test_pieces_say_their_error(run, weights, tmp_path):
    movie = write_movie(tmp_path / "clip.mp4", 31)
    code, _, err = run("features", "--movie", movie, "--pieces", "2", "--weights", weights, "--out", tmp_path / "out")
    assert code == 0
    assert "clip.mp4: 2 pieces, burn-in 10 s" in " ".join(err.split())
    assert "standard deviations" in " ".join(err.split())


def test_movies_of_a_subject(run, weights, tiny_data, tmp_path):
    stimuli = sorted((tiny_data / "simulated" / "stimuli").iterdir())
    code, text, err = run(
        "features", "--subject", "sim01", "--data", tiny_data, "--units", "R2", "--pooling", "last",
        "--weights", weights, "--out", tmp_path / "out", "--quiet",
    )  # fmt: skip
    assert (code, err) == (0, "")
    assert len(stimuli) > 1
    assert text.count("R2: 11 x 5x2x3") == len(stimuli)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        f"{movie.stem}_features.h5" for movie in stimuli
    ]
    check_file(
        tmp_path / "out" / f"{stimuli[0].stem}_features.h5",
        stimuli[0],
        FeatureConfig(units=("R2",), pooling="last", weights=weights),
    )


@pytest.mark.parametrize("options", [[], ["--movie", "MOVIE", "--subject", "sim01"]], ids=["neither", "both"])
def test_movie_or_subject(run, weights, tmp_path, monkeypatch, options):
    monkeypatch.setattr(extract, "show_movies", refuse)
    movie = write_movie(tmp_path / "clip.mp4", 15)
    options = [str(movie) if option == "MOVIE" else option for option in options]
    code, text, err = run("features", *options, "--weights", weights, "--out", tmp_path / "out")
    assert (code, text) == (2, "")
    both = " (not both)" if options else ""
    assert err == f"Error: Name the movies with --movie FILE ..., or whose movies with --subject S{both}.\n"
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("out", ["out", "out.h5"])
def test_two_movies_cannot_share_a_file(run, weights, tmp_path, monkeypatch, out):
    monkeypatch.setattr(extract, "show_movies", refuse)
    movies = [write_movie(tmp_path / folder / "clip.mp4", 15, seed) for seed, folder in enumerate(("a", "b"))]
    code, text, err = run("features", "--movie", *movies, "--weights", weights, "--out", tmp_path / out)
    assert (code, text) == (2, "")
    assert "2 movies cannot be written to" in err
    assert "movies with different names" in err
    assert not (tmp_path / out).exists()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--units", "R0", "R9"], "Unknown unit R9. This PredNet has: R0, R1, R2, A0"),
        (["--pooling", "median"], "mean, last, lanczos"),
        (["--dtype", "float64"], "float32, float16"),
        (["--precision", "float16"], "float32, bfloat16"),
        (["--pieces", "0"], "received 0 pieces"),
        (["--burn-in", "-1"], "burn-in of 0 s or more"),
        (["--tr", "nan"], "tr_s must be a positive number"),
        (["--size", "eight"], "eight"),
    ],
)
def test_unusable_options_exit_2(run, weights, tmp_path, monkeypatch, options, expected):
    monkeypatch.setattr(extract, "show_movies", refuse)
    movie = write_movie(tmp_path / "clip.mp4", 15)
    code, text, err = run("features", "--movie", movie, "--weights", weights, "--out", tmp_path / "out", *options)
    assert (code, text) == (2, "")
    assert expected in " ".join(err.split())
    assert not (tmp_path / "out").exists()


def test_missing_movie_exits_1(run, weights, tmp_path):
    code, text, err = run("features", "--movie", tmp_path / "none.mp4", "--weights", weights, "--out", tmp_path / "out")
    assert (code, text) == (1, "")
    assert "none.mp4 does not exist" in err
    assert not (tmp_path / "out").exists()


def test_pictures_arrays_and_clip_lists_are_movies(run, weights, tmp_path):
    frames = numbered_frames(30, 24, 40)
    write_pictures(tmp_path / "pictures", frames)
    write_matlab(tmp_path / "Stimuli.mat", st=frames.transpose(1, 2, 3, 0))
    np.save(tmp_path / "frames.npy", frames)
    (tmp_path / "events.tsv").write_text("onset\tduration\tfile\n0\t1\tframes.npy@10[0:1]\n1\t2\tframes.npy@10[1:3]\n")
    movies = [f"{tmp_path / 'pictures'}@10", f"{tmp_path / 'Stimuli.mat'}::st@10", tmp_path / "events.tsv"]
    code, text, err = run(
        "features", "--movie", *movies, "--weights", weights, "--out", tmp_path / "out", "--device", "cpu", "--quiet"
    )
    assert (code, err) == (0, "")
    names = ["pictures_features.h5", "Stimuli_st_features.h5", "events_features.h5"]
    assert [line.rpartition("/")[2] for line in text.splitlines() if line.startswith("Written")] == names
    values = []
    for name in names:
        with h5py.File(tmp_path / "out" / name) as file:
            assert file.attrs["movie"] in {"pictures", "Stimuli.mat", "events.tsv"}
            values.append(file["R0"][:])
    assert values[0].shape[1] == 3
    assert values[0].std() > 0
    for others in values[1:]:
        np.testing.assert_allclose(others, values[0], atol=1e-6)


@pytest.mark.parametrize(
    ("movie", "why"),
    [
        ("frames.npy", "do not state their rate"),
        ("frames.npy@10[5:9]", "lasts 3.00 s, so nothing is left from 5 s on"),
        ("overlap.tsv", "Clips overlap"),
    ],
)
def test_movie_that_cannot_be_played_exits_1_and_writes_nothing(run, weights, tmp_path, movie, why):
    np.save(tmp_path / "frames.npy", numbered_frames(30, 24, 40))
    (tmp_path / "overlap.tsv").write_text("onset\tduration\tfile\n0\t2\tframes.npy@10\n1\t2\tframes.npy@10\n")
    code, text, err = run(
        "features", "--movie", tmp_path / movie, "--weights", weights, "--out", tmp_path / "out", "--device", "cpu"
    )
    assert (code, text) == (1, "")
    assert why in err.splitlines()[-1]
    assert err.splitlines()[-1].startswith("Error: ")
    assert not (tmp_path / "out").exists()

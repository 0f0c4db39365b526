"""Files of frames play like movies, whatever the order of their axes, a block at a time."""

import h5py
import numpy as np
import pytest
from scipy.io import savemat

from brainpred.errors import DataError
from brainpred.movies import arrays
from brainpred.movies.video import frame_times, iterate_frames, probe_video, read_video
from tests.movies.files import HEIGHT, WIDTH, numbered_frames, write_matlab

FRAMES = numbered_frames(13)


@pytest.mark.parametrize(
    ("array", "shown"),
    [
        (FRAMES, FRAMES),
        (FRAMES.transpose(0, 3, 1, 2), FRAMES),
        (FRAMES[..., 2], np.repeat(FRAMES[..., 2:], 3, axis=3)),
        (FRAMES / np.float32(255), FRAMES),
    ],
)
@pytest.mark.parametrize("suffix", [".npy", ".npz", ".h5", ".hdf"])
def test_frames_come_back_from_any_order_of_axes(tmp_path, array, shown, suffix):
    path = tmp_path / f"film{suffix}"
    if suffix == ".npy":
        np.save(path, array)
    elif suffix == ".npz":
        np.savez(path, stimuli=array, rate=15.0)
    else:
        with h5py.File(path, "w") as file:
            file["stimuli"] = array
    read, times_s = read_video(f"{path}@15")
    np.testing.assert_array_equal(read, shown)
    np.testing.assert_allclose(times_s, np.arange(13) / 15)
    info = probe_video(f"{path}@15")
    assert (info.fps, info.height, info.width, info.duration_s) == (15, HEIGHT, WIDTH, pytest.approx(13 / 15))


def test_arrays_in_the_order_of_fortran_play_too(tmp_path):
    np.save(tmp_path / "film.npy", np.asfortranarray(FRAMES))
    np.testing.assert_array_equal(read_video(f"{tmp_path / 'film.npy'}@15[0.2:0.6]")[0], FRAMES[3:9])


@pytest.mark.parametrize("version", ["5", "7.3"])
def test_axes_of_matlab_are_turned_round(tmp_path, version):
    # height x width x 3 x n, as the vim-2 movies: h5py sees (n, 3, width, height).
    arrays = {"st": FRAMES.transpose(1, 2, 3, 0), "sv": FRAMES[:3, ..., 0].transpose(1, 2, 0)}
    path = tmp_path / "Stimuli.mat"
    if version == "5":
        savemat(path, arrays)
    else:
        write_matlab(path, **arrays)
        with h5py.File(path) as file:
            assert file["st"].shape == (13, 3, WIDTH, HEIGHT)
    np.testing.assert_array_equal(read_video(f"{path}::st@15")[0], FRAMES)
    np.testing.assert_array_equal(read_video(f"{path}::/sv@15")[0], np.repeat(FRAMES[:3, ..., :1], 3, axis=3))
    stretch, times_s = read_video(f"{path}::st@15[0.2:0.6]")
    np.testing.assert_array_equal(stretch, FRAMES[3:9])
    np.testing.assert_allclose(times_s, np.arange(6) / 15, atol=1e-9)


@pytest.mark.parametrize("chunks", [None, (1, 4, 5, 3), (5, HEIGHT, WIDTH, 3), (13, HEIGHT, WIDTH, 3)])
def test_frames_are_read_in_blocks(tmp_path, monkeypatch, chunks):
    monkeypatch.setattr(arrays, "BLOCK_BYTES", 2 * FRAMES[0].nbytes)
    with h5py.File(tmp_path / "film.h5", "w") as file:
        file.create_dataset("film", data=FRAMES, chunks=chunks, compression="gzip" if chunks else None)
    read = [frame for _, frame in iterate_frames(f"{tmp_path / 'film.h5'}@5")]
    np.testing.assert_array_equal(read, FRAMES)


def test_memory_is_one_block_and_only_what_is_wanted_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(arrays, "BLOCK_BYTES", 4 * FRAMES[0].nbytes)
    read = []
    take = arrays._Frames.read

    def noted(self, number):
        frame = take(self, number)
        read.append((number, self._first, len(self._block)))
        return frame

    monkeypatch.setattr(arrays._Frames, "read", noted)
    np.save(tmp_path / "film.npy", FRAMES)
    film = f"{tmp_path / 'film.npy'}@5"
    assert len(frame_times(film)) == 13
    assert read == []
    assert len(list(iterate_frames(film, from_s=1.8))) == 4
    assert read == [(9, 8, 4), (10, 8, 4), (11, 8, 4), (12, 12, 1)]


@pytest.mark.parametrize(
    ("array", "why"),
    [
        (np.zeros((4, 5), np.uint8), "holds no array of 3 or 4 axes|has the shape"),
        (np.zeros((4, 5, 6, 7), np.uint8), r"has the shape \(4, 5, 6, 7\), but frames are"),
        (np.zeros((0, 5, 6), np.uint8), "it is empty"),
        (np.zeros((4, 5, 6), np.int32), "holds int32, but frames are uint8"),
        (np.full((4, 5, 6), np.nan), "NaN or values outside 0 to 1 in frame 0"),
        (np.full((4, 5, 6), 200.0), "outside 0 to 1"),
        (np.full((4, 5, 6), -0.1), "outside 0 to 1"),
    ],
)
@pytest.mark.parametrize("suffix", [".npy", ".h5"])
def test_array_that_is_no_movie_is_refused(tmp_path, array, why, suffix):
    path = tmp_path / f"film{suffix}"
    if suffix == ".npy":
        np.save(path, array)
    else:
        with h5py.File(path, "w") as file:
            file["a"] = array
    with pytest.raises(DataError, match=why):
        read_video(f"{path}@5")


def test_pickled_objects_are_refused(tmp_path):
    np.save(tmp_path / "film.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match=r"Movie: film\.npy holds object, and no numbers"):
        read_video(f"{tmp_path / 'film.npy'}@5")


def test_damaged_files_are_named(tmp_path):
    np.save(tmp_path / "film.npy", FRAMES)
    with h5py.File(tmp_path / "film.h5", "w") as file:
        file["film"] = FRAMES
    for name in ("film.npy", "film.h5"):
        content = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(content[: len(content) // 2])
        with pytest.raises(DataError, match=rf"Movie: cannot read .*{name} .*Copy it again"):
            read_video(f"{tmp_path / name}@5")
    (tmp_path / "old.mat").write_bytes(b"MATLAB 5.0 MAT-file" + bytes(200))
    with pytest.raises(DataError, match=r"Movie: (cannot read .*old\.mat|old\.mat holds no array)"):
        read_video(f"{tmp_path / 'old.mat'}@5")
    with pytest.raises(DataError, match=r"absent\.npy does not exist"):
        read_video(f"{tmp_path / 'absent.npy'}@5")


def test_array_must_be_named_where_there_are_several(tmp_path):
    with h5py.File(tmp_path / "film.h5", "w") as file:
        file["a"], file["group/b"], file["rate"] = FRAMES, FRAMES[:2], 5.0
    assert len(frame_times(f"{tmp_path / 'film.h5'}::group/b@5")) == 2
    with pytest.raises(DataError, match=r"film\.h5 holds 2 arrays: a .*, group/b .*\. Name one, such as film\.h5::a\."):
        probe_video(f"{tmp_path / 'film.h5'}@5")
    with pytest.raises(DataError, match=r"film\.h5 holds no array c, but a .*, group/b"):
        probe_video(f"{tmp_path / 'film.h5'}::c@5")
    with pytest.raises(DataError, match=r"do not state their rate\. Write it after the name, such as film\.h5::a@15"):
        probe_video(f"{tmp_path / 'film.h5'}::a")

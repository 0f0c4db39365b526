"""Folders of pictures play like movies, missing pictures leave the others their time."""

import numpy as np
import pytest
from PIL import Image

from brainpred.errors import DataError
from brainpred.movies.video import frame_times, iterate_frames, probe_video, read_video
from tests.movies.files import HEIGHT, WIDTH, numbered_frames, write_pictures


def test_pictures_are_shown_in_the_order_of_their_numbers(tmp_path):
    frames = numbered_frames(13)
    write_pictures(tmp_path / "film", frames)  # as text, 10 comes before 2
    shown, times_s = read_video(f"{tmp_path / 'film'}@12.5")
    np.testing.assert_array_equal(shown, frames)
    np.testing.assert_allclose(times_s, np.arange(13) / 12.5)
    info = probe_video(f"{tmp_path / 'film'}@12.5")
    assert (info.fps, info.height, info.width) == (12.5, HEIGHT, WIDTH)
    assert info.duration_s == pytest.approx(13 / 12.5)


@pytest.mark.parametrize(
    ("numbers", "places"),
    [([7, 8, 11], [0, 1, 4]), ([0, 5, 20], [0, 1, 4]), ([3, 6, 7], [0, 3, 4]), ([0, 1, 2], [0, 1, 2])],
)
def test_missing_pictures_leave_the_others_their_time(tmp_path, numbers, places):
    write_pictures(tmp_path / "film", numbered_frames(3), numbers)
    np.testing.assert_allclose(frame_times(f"{tmp_path / 'film'}@5"), np.array(places) / 5)


def test_pictures_without_numbers_are_in_the_order_of_their_names(tmp_path):
    (tmp_path / "film").mkdir()
    frames = numbered_frames(3)
    for name, frame in zip("cab", frames, strict=True):
        Image.fromarray(frame).save(tmp_path / "film" / f"{name}.png")
    (tmp_path / "film" / "notes.txt").touch()
    (tmp_path / "film" / "._a.png").touch()
    np.testing.assert_array_equal(read_video(f"{tmp_path / 'film'}@5")[0], frames[[1, 2, 0]])


def test_grey_and_transparent_pictures_become_rgb(tmp_path):
    (tmp_path / "film").mkdir()
    grey = numbered_frames(1)[0, :, :, 1]
    Image.fromarray(grey).save(tmp_path / "film" / "0.png")
    Image.fromarray(np.dstack([numbered_frames(1)[0], np.full((HEIGHT, WIDTH), 255, np.uint8)])).save(
        tmp_path / "film" / "1.png"
    )
    shown, _ = read_video(f"{tmp_path / 'film'}@5")
    np.testing.assert_array_equal(shown[0], np.dstack([grey] * 3))
    np.testing.assert_array_equal(shown[1], numbered_frames(1)[0])


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_sixteen_bits_are_brought_to_eight(tmp_path, suffix):
    (tmp_path / "film").mkdir()
    deep = np.arange(HEIGHT * WIDTH, dtype=np.uint16).reshape(HEIGHT, WIDTH) * 350 + 35
    Image.fromarray(deep).save(tmp_path / "film" / f"0{suffix}")
    shown, _ = read_video(f"{tmp_path / 'film'}@5")
    np.testing.assert_allclose(shown[0], np.dstack([deep / 65535 * 255] * 3), atol=0.5001)


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_pictures_of_unknown_range_are_refused(tmp_path, dtype):
    (tmp_path / "film").mkdir()
    Image.fromarray(numbered_frames(1)[0, :, :, 1].astype(dtype)).save(tmp_path / "film" / "0.tif")
    with pytest.raises(DataError, match=r"0\.tif holds numbers of 32 bits .*Save it with 8 or 16 bits"):
        read_video(f"{tmp_path / 'film'}@5")


def test_only_pictures_that_are_wanted_are_read(tmp_path):
    write_pictures(tmp_path / "film", numbered_frames(5))
    (tmp_path / "film" / "shot2_3.png").write_bytes(b"damaged")
    film = f"{tmp_path / 'film'}@5"
    assert len(frame_times(film)) == 5
    assert [time_s for time_s, _ in iterate_frames(film, skip=4)] == [pytest.approx(0.8)]
    with pytest.raises(
        DataError, match=r"Picture .*shot2_3\.png cannot be read .*damaged or no picture\. Copy it again"
    ):
        read_video(film)


def test_truncated_picture_is_named(tmp_path):
    write_pictures(tmp_path / "film", np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8))
    path = tmp_path / "film" / "shot2_1.png"
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(DataError, match=r"shot2_1\.png is damaged"):
        read_video(f"{tmp_path / 'film'}@5")


def test_folder_that_is_no_movie_is_refused(tmp_path):
    with pytest.raises(DataError, match="holds no pictures"):
        probe_video(tmp_path)
    write_pictures(tmp_path / "film", numbered_frames(2))
    with pytest.raises(DataError, match=r"do not state their frame rate\. Write it after the folder, such as film@25"):
        probe_video(tmp_path / "film")
    Image.fromarray(numbered_frames(1, 5, 7)[0]).save(tmp_path / "film" / "2.png")
    with pytest.raises(DataError, match=r"2\.png is 5x7 pixels, but the first of its folder 11x17"):
        read_video(f"{tmp_path / 'film'}@5")
    Image.fromarray(numbered_frames(1)[0]).save(tmp_path / "film" / "b2.png")
    with pytest.raises(DataError, match="have the same number, so their order is not known"):
        read_video(f"{tmp_path / 'film'}@5")

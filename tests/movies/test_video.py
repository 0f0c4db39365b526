"""Movies survive being written and read, and files that are not whole movies are refused."""

import wave
from fractions import Fraction

import av
import numpy as np
import pytest

from brainpred.errors import DataError
from brainpred.movies.video import frame_times, iterate_frames, probe_video, read_video, sample_frames, write_video

HEADER_FIRST = [("matroska", {}), ("mp4", {"movflags": "faststart"})]


def moving_waves(n_frames=31, height=46, width=58):
    """Draw a different slow wave in every colour, drifting over the frame."""
    t, y, x = np.ogrid[:n_frames, :height, :width]
    colours = [
        mean + 60 * np.sin(2 * np.pi * (0.7 * x / width + y / height - t / n_frames) + phase)
        for mean, phase in ((90, 0.0), (120, 0.4), (160, 0.8))
    ]
    return np.stack(colours, axis=-1).round().astype(np.uint8)


def write_with_pyav(path, frames, fps, container_format, *, offset=0, sound_s=0.0, **options):
    """Encode frames by FFmpeg's own defaults, the first shown ``offset`` frames late, with silence as sound."""
    with av.open(str(path), "w", format=container_format, options=options) as container:
        stream = container.add_stream("libx264", rate=Fraction(fps))
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], "yuv420p"
        sound = container.add_stream("aac", rate=8000) if sound_s else None
        for index, array in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(array, format="rgb24")
            picture.pts, picture.time_base = index + offset, 1 / Fraction(fps)
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
        if sound:
            for begin in range(0, round(sound_s * 8000), 1024):
                silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
                silence.sample_rate, silence.pts = 8000, begin
                container.mux(sound.encode(silence))
            container.mux(sound.encode())


def truncate(path, kept):
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])


def test_written_movie_comes_back(tmp_path):
    frames = moving_waves()
    write_video(tmp_path / "waves.mp4", frames, fps=15)
    read, _ = read_video(tmp_path / "waves.mp4")
    assert read.shape == frames.shape
    assert read.dtype == np.uint8
    assert np.abs(read.astype(float) - frames).mean() < 3
    assert np.abs(read[:-1].astype(float) - frames[1:]).mean() > 6, "the frames are too alike to tell an order"


@pytest.mark.parametrize(("at_most", "step"), [(100, 1), (44, 1), (43, 2), (10, 5)])
def test_frames_are_taken_evenly_from_all_movies(tmp_path, at_most, step):
    frames = moving_waves()
    for name, part in (("a", frames), ("b", frames[:13])):
        write_video(tmp_path / f"{name}.mp4", part, fps=15)
    movies = [tmp_path / "a.mp4", tmp_path / "b.mp4"]
    taken = sample_frames(movies, (23, 29), at_most)
    assert len(taken) <= at_most
    expected = [read_video(movie, (23, 29))[0][::step] for movie in movies]
    np.testing.assert_array_equal(taken, np.concatenate(expected))
    with pytest.raises(DataError, match="no movies"):
        sample_frames([], (23, 29), 10)


@pytest.mark.parametrize("fps", [15, 23.976, 12.5])
def test_times_are_those_of_the_rate(tmp_path, fps):
    write_video(tmp_path / "waves.mp4", moving_waves(17), fps)
    _, times_s = read_video(tmp_path / "waves.mp4")
    assert times_s.dtype == np.float64
    np.testing.assert_allclose(times_s, np.arange(17) / fps, rtol=0, atol=1e-4)


@pytest.mark.parametrize("container_format", ["matroska", "mp4", "mpegts"])
def test_times_count_from_the_first_frame(tmp_path, container_format):
    write_with_pyav(tmp_path / "late", moving_waves(13), 15, container_format, offset=7)
    _, times_s = read_video(tmp_path / "late")
    np.testing.assert_allclose(times_s, np.arange(13) / 15, rtol=0, atol=1e-3)


@pytest.mark.parametrize("codec", ["libx264", "mpeg4", "mjpeg"])
def test_avi_is_played_in_the_order_of_presentation(tmp_path, codec):
    """H.264 in AVI: frames that are shown later are stored earlier, and numbered as they are stored."""
    frames = moving_waves(31)
    with av.open(str(tmp_path / "waves.avi"), "w", format="avi") as container:
        stream = container.add_stream(codec, rate=15)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        for index, array in enumerate(frames):
            if index == 20:
                continue  # a frame that is missing
            picture = av.VideoFrame.from_ndarray(array, format="rgb24")
            picture.pts, picture.time_base = index, Fraction(1, 15)
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    read, times_s = read_video(tmp_path / "waves.avi")
    kept = np.delete(np.arange(31), 20)
    assert np.abs(read.astype(float) - frames[kept]).mean() < 8
    assert np.abs(read[:-1].astype(float) - frames[kept][1:]).mean() > np.abs(read.astype(float) - frames[kept]).mean()
    np.testing.assert_allclose(times_s[:10], np.arange(10) / 15, atol=1e-3)
    assert (np.diff(times_s) > 0).all()


def test_header_tells_rate_length_and_size(tmp_path):
    write_video(tmp_path / "waves.mp4", moving_waves(31), fps=12.5)
    info = probe_video(tmp_path / "waves.mp4")
    assert (info.height, info.width) == (46, 58)
    assert info.fps == pytest.approx(12.5)
    assert info.duration_s == pytest.approx(31 / 12.5, abs=1e-3)


def test_frames_come_one_by_one_as_they_come_at_once(tmp_path):
    write_video(tmp_path / "waves.mp4", moving_waves(11), fps=15)
    frames, times_s = read_video(tmp_path / "waves.mp4", size=(24, 30))
    one_by_one = list(iterate_frames(tmp_path / "waves.mp4", size=(24, 30)))
    assert [time_s for time_s, _ in one_by_one] == times_s.tolist()
    np.testing.assert_array_equal(np.stack([frame for _, frame in one_by_one]), frames)


def ramp(n_frames, height, width, axis):
    """Draw a grey that grows by 2 a pixel along one axis."""
    grey = np.zeros((n_frames, height, width, 3), dtype=np.uint8)
    steps = 2 * np.arange((height, width)[axis])
    return grey + (steps[:, None, None] if axis == 0 else steps[:, None]).astype(np.uint8)


def test_wide_movie_loses_its_sides(tmp_path):
    write_video(tmp_path / "wide.mp4", ramp(3, 48, 120, axis=1), fps=15, quality=0)
    frames, _ = read_video(tmp_path / "wide.mp4", size=(24, 30))
    assert frames.shape == (3, 24, 30, 3)
    # Columns 30 to 89 remain, averaged in pairs.
    expected = 2 * np.arange(30, 90).reshape(30, 2).mean(axis=1)
    np.testing.assert_allclose(frames.mean(axis=(0, 1, 3)), expected, rtol=0, atol=1.5)


def test_tall_movie_loses_its_top_and_bottom(tmp_path):
    write_video(tmp_path / "tall.mp4", ramp(3, 110, 60, axis=0), fps=15, quality=0)
    frames, _ = read_video(tmp_path / "tall.mp4", size=(24, 30))
    # Rows 31 to 78 remain, averaged in pairs.
    expected = 2 * np.arange(31, 79).reshape(24, 2).mean(axis=1)
    np.testing.assert_allclose(frames.mean(axis=(0, 2, 3)), expected, rtol=0, atol=1.5)


def test_movie_of_the_right_shape_is_not_cropped(tmp_path):
    write_video(tmp_path / "whole.mp4", ramp(3, 48, 60, axis=1), fps=15, quality=0)
    frames, _ = read_video(tmp_path / "whole.mp4", size=(24, 30))
    expected = 2 * np.arange(60).reshape(30, 2).mean(axis=1)
    np.testing.assert_allclose(frames.mean(axis=(0, 1, 3)), expected, rtol=0, atol=1.5)


@pytest.mark.parametrize("container_format", ["mp4", "matroska"])
@pytest.mark.parametrize(("height", "width", "pixel"), [(144, 90, "64/45"), (120, 180, "8/9"), (96, 128, "1")])
def test_circle_stays_round_whatever_the_shape_of_the_pixels(tmp_path, container_format, height, width, pixel):
    """As on DVDs: 720 x 576 stored pixels fill a screen of 16:9."""
    aspect = Fraction(pixel)
    y, x = np.ogrid[:height, :width]
    circle = ((x + 0.5 - width / 2) * float(aspect)) ** 2 + (y + 0.5 - height / 2) ** 2 < (0.35 * height) ** 2
    frames = np.repeat(np.uint8(255) * circle[None, :, :, None], 3, axis=3).repeat(5, axis=0)
    path = tmp_path / "dvd.mkv"
    with av.open(str(path), "w", format=container_format) as container:
        stream = container.add_stream("libx264", rate=25)
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        stream.codec_context.sample_aspect_ratio = aspect
        for array in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(array, format="rgb24")))
        container.mux(stream.encode())
    read, _ = read_video(path, size=(72, 90))
    shown = read[2, :, :, 0] > 128
    assert shown.any(axis=0).sum() == pytest.approx(shown.any(axis=1).sum(), abs=2)
    whole, info = read_video(path)[0], probe_video(path)
    assert whole.shape[1:3] == (info.height, info.width)
    assert info.width / info.height == pytest.approx(width / height * float(aspect), rel=0.02)
    assert info.height >= height
    assert info.width >= width


@pytest.mark.parametrize(
    ("matrix", "turns"),  # (x, y) of a stored pixel becomes (a x + c y, b x + d y): ISO/IEC 14496-12, 6.2.2
    [((1, 0, 0, 1), 0), ((0, 1, -1, 0), -1), ((-1, 0, 0, -1), 2), ((0, -1, 1, 0), 1)],
)
def test_movies_of_telephones_are_upright(tmp_path, matrix, turns):
    frames = np.full((5, 48, 64, 3), 40, np.uint8)
    frames[:, :16, :20] = 220  # the corner at the top left
    path = tmp_path / "telephone.mp4"
    write_with_pyav(path, frames, 25, "mp4")
    content = path.read_bytes()
    identity = np.array([1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30], ">i4").tobytes()
    a, b, c, d = matrix
    turned = np.array([a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30], ">i4").tobytes()
    at = content.index(identity, content.index(b"tkhd"))
    path.write_bytes(content[:at] + turned + content[at + len(turned) :])
    read, _ = read_video(path)
    expected = np.rot90(frames[2], turns)  # counterclockwise
    assert read[2].shape == expected.shape == (probe_video(path).height, probe_video(path).width, 3)
    assert np.abs(read[2].astype(float) - expected).mean() < 10


def test_fine_stripes_are_averaged(tmp_path):
    stripes = np.zeros((3, 48, 60, 3), dtype=np.uint8)
    stripes[:, :, 1::2] = 255
    write_video(tmp_path / "stripes.mp4", stripes, fps=15, quality=0)
    frames, _ = read_video(tmp_path / "stripes.mp4", size=(24, 30))
    np.testing.assert_allclose(frames, 127.5, rtol=0, atol=4)


@pytest.mark.parametrize("container_format", ["matroska", "mp4"])
def test_movie_whose_sound_goes_on_is_whole(tmp_path, container_format):
    write_with_pyav(tmp_path / "waves", moving_waves(31), 15, container_format, sound_s=31 / 15 + 0.7)
    assert len(read_video(tmp_path / "waves")[0]) == 31


@pytest.mark.parametrize("kept", [0.05, 0.5, 0.75, 0.9])
def test_truncated_mp4_is_refused(tmp_path, kept):
    path = tmp_path / "waves.mp4"
    write_video(path, moving_waves(), fps=15)
    truncate(path, kept)
    with pytest.raises(DataError):
        read_video(path)


@pytest.mark.parametrize("kept", [0.5, 0.75, 0.9])
@pytest.mark.parametrize(("container_format", "options"), HEADER_FIRST, ids=["mkv", "fast-mp4"])
def test_truncated_movie_with_its_header_first_is_refused(tmp_path, container_format, options, kept):
    path = tmp_path / "waves"
    write_with_pyav(path, moving_waves(), 15, container_format, **options)
    assert len(read_video(path)[0]) == 31
    truncate(path, kept)
    with pytest.raises(DataError, match=r"truncated|damaged"):
        read_video(path)


@pytest.mark.parametrize(
    ("container_format", "options", "step"),
    [("matroska", {}, 97), ("mp4", {"movflags": "faststart"}, 37), ("mp4", {}, 37)],
    ids=["mkv", "fast-mp4", "mp4"],
)
def test_movie_cut_at_any_byte_is_refused_or_whole(tmp_path, container_format, options, step):
    path, cut = tmp_path / "waves", tmp_path / "cut"
    write_with_pyav(path, moving_waves(), 15, container_format, **options)
    content = path.read_bytes()
    lengths = range(0, len(content), step)
    refused = 0
    for n_bytes in lengths:
        cut.write_bytes(content[:n_bytes])
        try:
            n_frames = len(read_video(cut)[0])
        except DataError:
            refused += 1
        else:
            assert n_frames >= 31 - 3, f"{n_bytes} of {len(content)} bytes"
    assert refused > 0.9 * len(lengths)


def test_truncated_movie_names_both_lengths(tmp_path):
    path = tmp_path / "waves.mkv"
    write_with_pyav(path, moving_waves(), 15, "matroska")
    truncate(path, 0.8)
    with pytest.raises(DataError, match=r"waves\.mkv is truncated: its header states 2\.07 s, but its \d+ frames end"):
        read_video(path)


@pytest.mark.parametrize("content", [b"", b"these are notes about a movie, not the movie\n" * 99])
@pytest.mark.parametrize("read", [read_video, probe_video])
def test_file_that_is_no_video_is_refused(tmp_path, read, content):
    path = tmp_path / "notes.mp4"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"notes\.mp4 cannot be opened as a video"):
        read(path)


def test_sound_without_pictures_is_refused(tmp_path):
    path = tmp_path / "sound.wav"
    with wave.open(str(path), "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        sound.writeframes(bytes(3200))
    with pytest.raises(DataError, match="no video stream"):
        read_video(path)


@pytest.mark.parametrize("read", [read_video, probe_video])
def test_missing_file_and_folder_are_refused(tmp_path, read):
    for path, why in ((tmp_path / "absent.mp4", "does not exist"), (tmp_path, "holds no pictures")):
        with pytest.raises(DataError, match=why):
            read(path)


@pytest.mark.parametrize(("height", "width"), [(45, 58), (46, 57)])
def test_odd_sides_are_refused_and_leave_nothing(tmp_path, height, width):
    with pytest.raises(DataError, match=f"even sides, received {height}x{width}"):
        write_video(tmp_path / "odd.mp4", moving_waves(3, height, width), fps=15)
    assert list(tmp_path.iterdir()) == []


def test_no_frames_are_refused_and_leave_nothing(tmp_path):
    with pytest.raises(DataError, match=r"No frames to write to .*empty\.mp4"):
        write_video(tmp_path / "empty.mp4", [], fps=15)
    assert list(tmp_path.iterdir()) == []


def test_interrupted_writing_leaves_the_movie_of_before(tmp_path):
    path = tmp_path / "waves.mp4"
    write_video(path, moving_waves(5), fps=15)
    before = path.read_bytes()

    def frames():
        yield from moving_waves(9)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_video(path, frames(), fps=15)
    assert [child.name for child in tmp_path.iterdir()] == ["waves.mp4"]
    assert path.read_bytes() == before


def test_same_frames_give_the_same_bytes(tmp_path):
    path = tmp_path / "waves.mp4"
    frames, rng = moving_waves(), np.random.default_rng(2)
    written = set()
    for _ in range(9):
        # Noise left in freed memory shows an encoder that reads what it did not write.
        noise = [rng.integers(0, 256, rng.integers(1_000, 200_000), dtype=np.uint8) for _ in range(20)]
        del noise
        write_video(path, frames, fps=15)
        written.add(path.read_bytes())
    assert len(written) == 1
    write_video(path, frames[::-1], fps=15)
    assert path.read_bytes() not in written
    assert [child.name for child in tmp_path.iterdir()] == ["waves.mp4"]


def test_frames_are_written_at_the_times_given_and_read_back_there(tmp_path):
    times_s = [0.0, 0.1, 0.5, 0.525, 2.0]
    frames = [np.full((16, 32, 3), value, np.uint8) for value in (10, 60, 110, 160, 210)]
    write_video(tmp_path / "uneven.mp4", frames, 15, times_s=times_s)
    np.testing.assert_allclose(frame_times(tmp_path / "uneven.mp4"), times_s, atol=1e-4)
    read, read_times = read_video(tmp_path / "uneven.mp4")
    np.testing.assert_allclose(read_times, times_s, atol=1e-4)
    assert np.abs(read.mean(axis=(1, 2, 3)) - [10, 60, 110, 160, 210]).max() < 4


def test_times_without_frames_are_those_with_them(tmp_path):
    write_video(tmp_path / "movie.mp4", [np.full((16, 32, 3), 9 * k, np.uint8) for k in range(11)], 12.5)
    np.testing.assert_array_equal(frame_times(tmp_path / "movie.mp4"), read_video(tmp_path / "movie.mp4")[1])

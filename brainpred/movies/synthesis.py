"""Synthesise natural-looking movies: photographs and dead leaves, a moving camera, occluders, cuts."""

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits
from torch import Tensor
from torch.nn import functional

from brainpred.errors import ConfigError

__all__ = ["photographs", "synthesise_movie"]

FPS = 15.0
SCENE_S = (2.0, 7.0)
LEAVES_SIDE = 384


@cache
def photographs() -> tuple[Tensor, ...]:
    """Load the photographs that ship inside scikit-learn and scikit-image.

    Returns
    -------
    tuple of Tensor (3, height, width)
        float32 RGB in [0, 1].
    """
    from skimage import data
    from sklearn.datasets import load_sample_images

    pictures = [
        *load_sample_images().images,
        data.astronaut(),
        data.chelsea(),
        data.coffee(),
        data.rocket(),
        data.stereo_motorcycle()[0],
    ]
    # Grey textures take the colours of earth, leaves and stone.
    for texture, tint in (
        (data.brick(), (1.0, 0.72, 0.6)),
        (data.grass(), (0.75, 1.0, 0.55)),
        (data.gravel(), (1.0, 0.95, 0.88)),
    ):
        pictures.append((texture[..., None] * np.asarray(tint)).astype(np.uint8))
    return tuple(torch.from_numpy(picture.copy()).permute(2, 0, 1).float() / 255 for picture in pictures)


def _dead_leaves(rng: np.random.Generator, side: int = LEAVES_SIDE, n_leaves: int = 2500) -> Tensor:
    """Paint opaque discs with radii ~ r**-3, coloured from a photograph: the statistics of natural scenes."""
    palette = photographs()[rng.integers(len(photographs()))].flatten(1).numpy()
    smallest, largest = 5.0, side / 3
    radii = (smallest**-2 + rng.random(n_leaves) * (largest**-2 - smallest**-2)) ** -0.5
    centres = rng.uniform(0, side, size=(n_leaves, 2))
    colours = palette[:, rng.integers(palette.shape[1], size=n_leaves)] * rng.uniform(0.7, 1.2, n_leaves)
    canvas = np.empty((3, side, side), dtype=np.float32)
    canvas[:] = palette.mean(axis=1)[:, None, None]
    grid = np.arange(side)
    for (row, column), radius, colour in zip(centres, radii, colours.T, strict=True):
        rows = slice(max(0, int(row - radius)), int(row + radius) + 1)
        columns = slice(max(0, int(column - radius)), int(column + radius) + 1)
        inside = (grid[rows, None] - row) ** 2 + (grid[None, columns] - column) ** 2 < radius**2
        canvas[:, rows, columns][:, inside] = colour[:, None]
    return torch.from_numpy(canvas.clip(0, 1))


def _texture(rng: np.random.Generator) -> Tensor:
    """Draw a photograph (mostly) or dead leaves, sometimes mirrored."""
    picture = _dead_leaves(rng) if rng.random() < 0.25 else photographs()[rng.integers(len(photographs()))]
    return picture.flip(-1) if rng.random() < 0.5 else picture


@dataclass(frozen=True)
class _Path:
    """A smooth path through the plane: x, y in units of the view, log zoom, angle in radians; (n_frames,)."""

    x: Tensor
    y: Tensor
    log_zoom: Tensor
    angle: Tensor


def _camera_path(n_frames: int, fps: float, rng: np.random.Generator) -> _Path:
    """Pan, zoom and turn at constant speeds, with the slow sway of a camera held in the hand."""
    t = torch.arange(n_frames) / fps

    def sway(amplitude: float) -> Tensor:
        frequency_hz = torch.from_numpy(rng.uniform(0.2, 1.2, 3)).float()
        phase = torch.from_numpy(rng.uniform(0, 2 * np.pi, 3)).float()
        return amplitude * torch.sin(2 * np.pi * frequency_hz * t[:, None] + phase).mean(1)

    still = rng.random() < 0.15
    speed = 0.0 if still else rng.gamma(2.0, 0.09)  # views a second
    heading = rng.uniform(0, 2 * np.pi)
    middle = t - t.mean()
    return _Path(
        x=speed * np.cos(heading) * middle + sway(0.03),
        y=0.6 * speed * np.sin(heading) * middle + sway(0.03),
        log_zoom=(0.0 if still else rng.normal(0, 0.10)) * middle + sway(0.02),
        angle=(0.0 if still else rng.normal(0, 0.05)) * middle + sway(0.02),
    )


def _view(picture: Tensor, path: _Path, coverage: float, size: tuple[int, int]) -> Tensor:
    """Film a picture along a path; ``coverage`` is the part of its shorter side that one view spans."""
    height, width = size
    side = min(picture.shape[1] / height, picture.shape[2] / width) * coverage  # source pixels a pixel
    if side > 1:
        picture = functional.interpolate(picture[None], scale_factor=1 / side, mode="bilinear", antialias=True)[0]
    span_y = coverage * min(1.0, picture.shape[2] * height / (picture.shape[1] * width))
    span_x = coverage * min(1.0, picture.shape[1] * width / (picture.shape[2] * height))
    zoom = torch.exp(path.log_zoom)
    ys, xs = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
    cos, sin = torch.cos(path.angle)[:, None, None], torch.sin(path.angle)[:, None, None]
    aspect = width / height
    x = (cos * xs + sin * ys / aspect) * zoom[:, None, None] + 2 * path.x[:, None, None]
    y = (-sin * xs * aspect + cos * ys) * zoom[:, None, None] + 2 * path.y[:, None, None]
    grid = torch.stack([x * span_x, y * span_y], dim=-1)  # (n_frames, height, width, 2)
    expanded = picture[None].expand(len(path.x), -1, -1, -1)
    return functional.grid_sample(expanded, grid, padding_mode="reflection", align_corners=False)


def _occlude(scene: Tensor, fps: float, rng: np.random.Generator) -> Tensor:
    """Move one textured blob with a soft edge in front of a scene (n_frames, 3, height, width)."""
    n_frames, _, height, width = scene.shape
    t = torch.arange(n_frames) / fps
    ys, xs = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width) * width / height, indexing="ij")
    heading, speed = rng.uniform(0, 2 * np.pi), rng.uniform(0.1, 0.9)  # half heights a second
    start = rng.uniform(-0.7, 0.7, size=2)
    x = start[0] + speed * np.cos(heading) * (t - t.mean())
    y = start[1] + 0.6 * speed * np.sin(heading) * (t - t.mean())
    dx, dy = xs - x[:, None, None], ys - y[:, None, None]
    bearing = torch.atan2(dy, dx)
    outline = torch.full_like(bearing, float(rng.uniform(0.2, 0.55)))
    for harmonic in (2, 3, 5):
        outline = outline * (
            1 + rng.normal(0, 0.18 / harmonic**0.5) * torch.cos(harmonic * bearing + rng.uniform(0, 6))
        )
    mask = torch.sigmoid((outline - torch.hypot(dx, dy)) * 40)[:, None]
    flight = _Path(-x * height / width / 2, -y / 2, torch.zeros_like(t), torch.zeros_like(t))
    surface = _view(_texture(rng), flight, float(rng.uniform(0.3, 0.7)), (height, width))
    return scene * (1 - mask) + surface * mask * rng.uniform(0.75, 1.1)


def _scene(n_frames: int, fps: float, size: tuple[int, int], rng: np.random.Generator) -> Tensor:
    """Film one scene: a background under a moving camera, up to three occluders, drifting light."""
    scene = _view(_texture(rng), _camera_path(n_frames, fps, rng), float(rng.uniform(0.35, 0.85)), size)
    for _ in range(min(3, rng.poisson(1.1))):
        scene = _occlude(scene, fps, rng)
    t = torch.arange(n_frames) / fps
    light = rng.uniform(0.8, 1.1) * (1 + 0.12 * torch.sin(2 * np.pi * rng.uniform(0.05, 0.3) * t + rng.uniform(0, 6)))
    return (scene * light[:, None, None, None]).clamp(0, 1)


def synthesise_movie(
    duration_s: float, rng: np.random.Generator, fps: float = FPS, size: tuple[int, int] = (128, 160)
) -> NDArray[np.uint8]:
    """Synthesise a movie with the look of a natural one.

    Scenes of 2-7 s follow each other by cuts. Each films a photograph or a dead-leaves texture [1]_ with
    a camera that pans, zooms, turns and sways, and up to three textured objects move in front of it.

    Parameters
    ----------
    duration_s : float
        Length in seconds.
    rng : numpy.random.Generator
        Source of all chance.
    fps : float
        Frames per second.
    size : (height, width)
        Frame size in pixels.

    Returns
    -------
    ndarray of uint8 (n_frames, height, width, 3)
        RGB frames, ``round(duration_s * fps)`` of them.

    References
    ----------
    .. [1] A. B. Lee, D. Mumford, J. Huang, "Occlusion models for natural images", IJCV 41, 2001.
    """
    n_frames = round(duration_s * fps)
    if n_frames < 1:
        raise ConfigError(f"A movie needs at least one frame, received {duration_s} s at {fps} frames a second.")
    frames = np.empty((n_frames, *size, 3), dtype=np.uint8)
    begin = 0
    # Thousands of small operations: threads would spend their time waiting for each other.
    with threadpool_limits(1):
        while begin < n_frames:
            length = min(n_frames - begin, round(rng.uniform(*SCENE_S) * fps))
            scene = _scene(length, fps, size, rng)
            frames[begin : begin + length] = (scene * 255).round().byte().permute(0, 2, 3, 1).numpy()
            begin += length
    return frames

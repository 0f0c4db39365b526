"""Simulate voxels of early visual cortex that see pictures."""

import numpy as np
from numpy.typing import NDArray

__all__ = ["simulate_voxels"]


def simulate_voxels(
    pictures: NDArray[np.floating],
    rng: np.random.Generator,
    *,
    n_voxels: int = 3000,
    responsive: float = 0.6,
    signal_to_noise: float = 0.1,
    shared_noise: float = 0.25,
) -> NDArray[np.float32]:
    r"""Simulate voxels of early visual cortex that see pictures.

    A responsive voxel pools light or the energy of a Gabor filter through a Gaussian receptive field; its
    signal-to-noise ratio (variance) is log-normal about the median given, to which a noise that all voxels share in
    eight patterns is added.

    Parameters
    ----------
    pictures : ndarray (n, height, width)
        Pictures in [0, 1].
    rng : Generator
        Where voxels and noise come from.
    n_voxels : int
        Voxels.
    responsive : float
        Part of the voxels that respond at all.
    signal_to_noise : float
        Median ratio of signal to noise variance of those that do.
    shared_noise : float
        Standard deviation of each shared pattern.

    Returns
    -------
    ndarray of float32 (n, n_voxels)
        Responses.

    References
    ----------
    S. O. Dumoulin, B. A. Wandell, "Population receptive field estimates in human visual cortex", NeuroImage 39, 2008;
    K. N. Kay et al., "Identifying natural images from human brain activity", Nature 452, 2008.
    """
    n, height, width = pictures.shape
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    flat = pictures.reshape(n, -1).astype(np.float32)
    side = height / 28
    signal = np.empty((n, n_voxels), np.float32)
    for voxel in range(n_voxels):
        centre = rng.normal((height / 2, width / 2), 5 * side)
        field = np.exp(
            -0.5 * ((rows - centre[0]) ** 2 + (columns - centre[1]) ** 2) / (rng.uniform(1.2, 4) * side) ** 2
        )
        angle, frequency = rng.uniform(0, np.pi), rng.uniform(0.05, 0.2) / side
        phase = 2 * np.pi * frequency * ((columns - centre[1]) * np.cos(angle) + (rows - centre[0]) * np.sin(angle))
        if rng.integers(2):
            response = flat @ field.ravel()
        else:
            response = np.hypot(flat @ (field * np.cos(phase)).ravel(), flat @ (field * np.sin(phase)).ravel())
        signal[:, voxel] = (response - response.mean()) / (response.std() + 1e-9)
    ratio = np.exp(rng.normal(np.log(signal_to_noise), 1, n_voxels)) * (rng.random(n_voxels) < responsive)
    noise = rng.normal(size=(n, n_voxels)) + shared_noise * rng.normal(size=(n, 8)) @ rng.normal(size=(8, n_voxels))
    return (signal * np.sqrt(ratio) + noise).astype(np.float32)

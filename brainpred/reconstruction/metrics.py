"""Compare generated pictures with what was shown: likeness of frames and scans, motion between scans."""

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = [
    "FRAME_METRICS",
    "flow_correlation",
    "frame_scores",
    "optical_flow",
    "pixel_correlation",
    "scan_similarity",
    "structural_similarity",
]

FRAME_METRICS = ("ssim", "pixel_r", "psnr")
WINDOW = 7  # pixels, the side of SSIM's window
# Two constants that keep SSIM finite where pictures are dark or uniform, for values in [0, 1].
C1, C2 = 0.01**2, 0.03**2
LEAST_ERROR = 1e-10  # mean squared error of pictures that are equal: 100 dB
FLAT = 1e-6  # standard deviation over pixels below which a picture is uniform
FLOW_RADIUS = 5  # pixels
FLOW_HEIGHT = 32  # pictures are reduced to about this for optical flow


def structural_similarity(shown: Tensor, generated: Tensor) -> Tensor:
    r"""Give the structural similarity (SSIM) of pictures: 7x7 windows, sample covariances.

    .. math:: \mathrm{SSIM} = \frac{(2 \mu_x \mu_y + c_1)(2 \sigma_{xy} + c_2)}
                                   {(\mu_x^2 + \mu_y^2 + c_1)(\sigma_x^2 + \sigma_y^2 + c_2)},
        \qquad c_1 = 0.01^2,\; c_2 = 0.03^2,

    the mean over windows inside the picture and over colours, as scikit-image does by default.

    Parameters
    ----------
    shown, generated : Tensor (n_pictures, 3, height, width)
        Pictures in [0, 1]; one shown picture stands for all.

    Returns
    -------
    Tensor (n_pictures,)
        1 for equal pictures.

    References
    ----------
    Z. Wang et al., "Image quality assessment: from error visibility to structural similarity", IEEE Trans. Image
    Process. 13, 2004, equation 13.
    """
    unbiased = WINDOW**2 / (WINDOW**2 - 1)
    x, y = _windows(shown), _windows(generated)
    x_variance = unbiased * (_windows(shown.square()) - x.square())
    y_variance = unbiased * (_windows(generated.square()) - y.square())
    covariance = unbiased * (_windows(generated * shown) - x * y)
    luminance = (2 * x * y + C1) / (x.square() + y.square() + C1)
    structure = (2 * covariance + C2) / (x_variance + y_variance + C2)
    return (luminance * structure).mean(dim=(1, 2, 3))


def pixel_correlation(shown: Tensor, generated: Tensor) -> Tensor:
    """Correlate pictures over pixels and colours.

    Parameters
    ----------
    shown, generated : Tensor (n_pictures, 3, height, width)
        Pictures; one shown picture stands for all.

    Returns
    -------
    Tensor (n_pictures,)
        Pearson's r; 0 where the generated picture is uniform, NaN where the shown one is.
    """
    x, y = shown.flatten(1), generated.flatten(1)
    x, y = x - x.mean(dim=1, keepdim=True), y - y.mean(dim=1, keepdim=True)
    x_spread, y_spread = x.square().mean(dim=1).sqrt(), y.square().mean(dim=1).sqrt()
    flat = y_spread < FLAT
    r = (x * y).mean(dim=1) / (x_spread * torch.where(flat, 1, y_spread))
    return torch.where(x_spread < FLAT, torch.nan, torch.where(flat, 0, r))


def frame_scores(shown: Tensor, generated: Tensor) -> Tensor:
    r"""Score pictures against the frame that was shown.

    Parameters
    ----------
    shown : Tensor (3, height, width)
        The frame, in [0, 1].
    generated : Tensor (n_pictures, 3, height, width)
        Pictures in [0, 1].

    Returns
    -------
    Tensor (n_pictures, 3)
        In the order of ``FRAME_METRICS``: SSIM, pixel r, and the peak signal-to-noise ratio
        :math:`-10 \log_{10} \mathrm{MSE}` in dB, 100 for equal pictures.
    """
    error = (generated - shown).square().mean(dim=(1, 2, 3))
    psnr = -10 * torch.log10(error.clamp(min=LEAST_ERROR))
    return torch.stack(
        [structural_similarity(shown[None], generated), pixel_correlation(shown[None], generated), psnr], dim=1
    )


def _windows(pictures: Tensor) -> Tensor:
    """Average over every window that lies inside the picture: rows and columns in turn, as matrix products."""
    rows, columns = (_averaging(side, pictures.dtype, pictures.device) for side in pictures.shape[-2:])
    return rows.T @ (pictures @ columns)


@lru_cache
def _averaging(side: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Give the matrix (side, side - 6) that averages neighbours, several times faster than pooling."""
    places = torch.arange(side, device=device)[:, None] - torch.arange(side - WINDOW + 1, device=device)
    return ((places >= 0) & (places < WINDOW)).to(dtype) / WINDOW


def scan_similarity(generated: NDArray[np.floating], shown: NDArray[np.floating]) -> NDArray[np.float64]:
    """Correlate the generated picture of every scan with what was shown in every scan.

    Parameters
    ----------
    generated, shown : ndarray (n_scans, n_pixels)
        Pictures, one a scan; read in blocks of pixels, so that they may be memory maps.

    Returns
    -------
    ndarray of float64 (n_scans, n_scans)
        Pearson's r over pixels; rows are generated pictures, columns shown ones. 0 where either is uniform.
    """
    n_scans, n_pixels = generated.shape
    products = np.zeros((n_scans, n_scans))
    sums = np.zeros((2, n_scans))
    squares = np.zeros((2, n_scans))
    for first in range(0, n_pixels, 8192):
        parts = [np.asarray(pictures[:, first : first + 8192], dtype=np.float32) for pictures in (generated, shown)]
        products += parts[0] @ parts[1].T
        sums += [part.sum(axis=1, dtype=float) for part in parts]
        squares += [np.square(part).sum(axis=1, dtype=float) for part in parts]
    covariance = products / n_pixels - np.outer(*(sums / n_pixels))
    spread = np.sqrt(np.maximum(squares / n_pixels - np.square(sums / n_pixels), 0))
    norm = np.outer(*np.where(spread < 1e-4, 0, spread))  # single precision sums tell no smaller spread from none
    return np.divide(covariance, norm, out=np.zeros_like(covariance), where=norm > 0)


def optical_flow(before: NDArray[np.floating], after: NDArray[np.floating]) -> NDArray[np.float32]:
    """Estimate the motion between two pictures by iterative Lucas-Kanade, with scikit-image.

    Parameters
    ----------
    before, after : ndarray (height, width, 3)
        Pictures in [0, 1]; they are reduced to some 32 rows.

    Returns
    -------
    ndarray of float32 (2, rows, columns)
        Displacement along rows and along columns, in (reduced) pixels.

    References
    ----------
    G. Le Besnerais, F. Champagnat, "Dense optical flow by iterative local window registration", ICIP 2005.
    """
    from skimage.registration import optical_flow_ilk

    step = max(1, before.shape[0] // FLOW_HEIGHT)
    grey = [_reduce(np.asarray(picture, dtype=np.float32).mean(axis=2), step) for picture in (before, after)]
    return np.asarray(optical_flow_ilk(*grey, radius=FLOW_RADIUS, num_warp=3, dtype=np.float32))


def _reduce(picture: NDArray[np.float32], step: int) -> NDArray[np.float32]:
    """Average step x step pixels."""
    rows, columns = picture.shape[0] // step, picture.shape[1] // step
    return picture[: rows * step, : columns * step].reshape(rows, step, columns, step).mean(axis=(1, 3))


def flow_correlation(shown: NDArray[np.floating], generated: NDArray[np.floating]) -> float:
    """Correlate two fields of motion over places and both components.

    Parameters
    ----------
    shown, generated : ndarray (2, rows, columns)
        As :func:`optical_flow`.

    Returns
    -------
    float
        Cosine between the fields: still is 0, not a mean to be taken away. 0 where nothing moves in what was generated,
        NaN where nothing moves in what was shown.
    """
    norms = [float(np.linalg.norm(flow)) / np.sqrt(flow.size) for flow in (shown, generated)]
    if norms[0] < 1e-3:
        return float("nan")
    return 0.0 if norms[1] < 1e-3 else float((shown * generated).mean() / (norms[0] * norms[1]))

"""Compare generated pictures with the stimulus: structural similarity and pixel correlation."""

import warnings

import numpy as np
from numpy.typing import NDArray

__all__ = ["pixel_correlation", "structural_similarity"]


def structural_similarity(shown: NDArray[np.floating], generated: NDArray[np.floating]) -> float:
    """Give the structural similarity (SSIM) of two pictures, by scikit-image.

    Parameters
    ----------
    shown, generated : ndarray (height, width, 3)
        Pictures in [0, 1].

    Returns
    -------
    float
        SSIM with a 7x7 window, averaged over colours; 1 for equal pictures.
    """
    from skimage.metrics import structural_similarity as ssim

    return float(ssim(shown, generated, channel_axis=-1, data_range=1.0))


def pixel_correlation(shown: NDArray[np.floating], generated: NDArray[np.floating]) -> float:
    """Correlate two pictures over pixels and colours.

    Parameters
    ----------
    shown, generated : ndarray (height, width, 3)
        Pictures.

    Returns
    -------
    float
        Pearson's r; NaN where a picture is uniform.
    """
    if np.ptp(shown) == 0 or np.ptp(generated) == 0:
        return float("nan")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", category=RuntimeWarning)
        return float(np.corrcoef(shown.ravel(), generated.ravel())[0, 1])

"""Pictures made comparable: lighting removed, scaled together, spectrum flattened.

Two crops of one strip agree in every detail; two pictures of one *kind* of surface agree in their
statistics: grain size, direction, the pitch of a roll mark. Flattening the amplitude spectrum takes
the statistics away and leaves the details, so that the correlation of two pictures without common
content is that of white noise, whatever the texture, and a periodic pattern is one frequency among
thousands.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.fft import irfft2, next_fast_len, rfft2
from scipy.ndimage import gaussian_filter1d

from .. import opencv as cv2

__all__ = ['even_light', 'grid_size', 'shrink', 'whiten']

#: A grid that many times the side keeps every shift that leaves a quarter free of wrap-around.
_PADDING = 1.75


def even_light(grey: np.ndarray) -> np.ndarray:
    """Subtract the local mean and divide by the local deviation, over about a sixth of the side.

    Brightness, contrast, smooth gamma and lighting gradients go.
    """
    sigma = math.sqrt(grey.size) / 16
    rest: np.ndarray = grey - cv2.GaussianBlur(grey, (0, 0), sigma)
    variance = cv2.GaussianBlur(rest * rest, (0, 0), sigma)
    # One grey level squared: below it lies the noise of quantisation.
    return rest / np.sqrt(variance + 1.0)


def shrink(image: np.ndarray, scale: float) -> np.ndarray:
    """Scale down by ``scale`` <= 1, to 8 pixels a side at least."""
    if scale >= 1:
        return image
    height, width = (max(round(side * scale), 8) for side in image.shape)
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)


def grid_size(side: int) -> int:
    """Side of the FFT grid for pictures of at most ``side`` pixels."""
    return next_fast_len(math.ceil(_PADDING * side), real=True)


def whiten(image: np.ndarray, band: float) -> np.ndarray:
    """Flatten the amplitude spectrum, within a Gaussian pass band.

    Args:
        image (np.ndarray): (height, width) float32.
        band (float): Standard deviation of the pass band in cycles a pixel. Above it there is
            little but noise and the artefacts of compression.

    Returns:
        np.ndarray: The same size, zero mean and unit deviation; zeros for a flat image.
    """
    height, width = image.shape
    grid = grid_size(max(height, width))
    spectrum = rfft2(image - image.mean(), s=(grid, grid))
    amplitude = gaussian_filter1d(np.abs(spectrum), 1.5, axis=0, mode='wrap')
    amplitude = gaussian_filter1d(amplitude, 1.5, axis=1, mode='mirror')
    frequency = np.hypot(np.fft.fftfreq(grid)[:, None], np.fft.rfftfreq(grid))
    # What is longer than two thirds of the picture is lighting.
    pass_band = np.exp(-((frequency / band) ** 2) / 2) * (frequency > 1.5 / max(height, width))
    spectrum *= pass_band / (amplitude + 1e-3 * amplitude.max() + 1e-12)
    white = irfft2(spectrum, s=(grid, grid))[:height, :width]
    white -= white.mean()
    deviation = white.std()
    return (white / deviation if deviation > 1e-9 else white * 0).astype(np.float32)

"""Procedural grey steel surfaces: grain by finishing process, lighting, harmless marks.

Lengths are given in units of 1/128 of the image side (``Surface.unit`` pixels), so that an image
size changes the resolution and not the scene.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from .. import opencv as cv2

__all__ = ['Surface', 'add_distractors', 'expose', 'make_surface', 'smooth_noise', 'stroke']


@dataclass
class Surface:
    """A defect-free surface before lighting and exposure.

    Args:
        image (np.ndarray): Reflectance, (size, size) float32, around 0.5.
        angle (float): Direction of brushing or rolling, radians, 0 is along x.
        contrast (float): Standard deviation of grain and sensor noise together: the unit in which
            the visibility of a mark is given.
        noise (float): Standard deviation of the sensor noise alone.
    """

    image: np.ndarray
    angle: float
    contrast: float
    noise: float

    @property
    def size(self) -> int:
        return self.image.shape[0]

    @property
    def unit(self) -> float:
        return self.size / 128


def smooth_noise(rng: np.random.Generator, size: int, sigma: float) -> np.ndarray:
    """Gaussian noise of correlation length ``sigma`` pixels, zero mean and unit deviation."""
    field = rng.standard_normal((size, size)).astype(np.float32)
    field = ndimage.gaussian_filter(field, sigma, mode='wrap')
    return (field - field.mean()) / (field.std() + 1e-8)


def stroke(
    size: int, points: np.ndarray, widths: np.ndarray, *, supersample: int = 4
) -> np.ndarray:
    """Anti-aliased coverage (size, size) in [0, 1] of a polyline.

    Args:
        size (int): Image side in pixels.
        points (np.ndarray): Vertices (n, 2) as x, y in pixels.
        widths (np.ndarray): Line width in pixels at each of the n - 1 segments; 0 leaves a gap.
        supersample (int): Sub-samples a pixel and axis.
    """
    canvas = np.zeros((size * supersample, size * supersample), np.uint8)
    vertices = np.round(points * supersample).astype(int)
    for start, end, width in zip(vertices[:-1], vertices[1:], widths * supersample):
        if width >= 1:
            cv2.line(canvas, tuple(start.tolist()), tuple(end.tolist()), 255, round(width))
    small = cv2.resize(canvas, (size, size), interpolation=cv2.INTER_AREA)
    return small.astype(np.float32) / 255


def _along(
    rng: np.random.Generator, size: int, angle: float, length: float, width: float
) -> np.ndarray:
    """Noise stretched to ``length`` pixels along ``angle`` and ``width`` pixels across it."""
    side = int(np.ceil(size * 1.5))
    field: np.ndarray = rng.standard_normal((side, side)).astype(np.float32)
    field = ndimage.gaussian_filter(field, (width, length), mode='wrap')
    turn = cv2.getRotationMatrix2D((side / 2, side / 2), -np.degrees(angle), 1.0)
    field = cv2.warpAffine(field, turn, (side, side), borderMode=cv2.BORDER_WRAP)
    edge = (side - size) // 2
    field = field[edge : edge + size, edge : edge + size]
    return (field - field.mean()) / (field.std() + 1e-8)


def _brushed(rng: np.random.Generator, size: int, angle: float) -> np.ndarray:
    unit = size / 128
    fine = _along(rng, size, angle, rng.uniform(8, 25) * unit, 0.45 * unit)
    coarse = _along(rng, size, angle, rng.uniform(30, 60) * unit, rng.uniform(1.2, 2.5) * unit)
    return fine + rng.uniform(0.3, 0.8) * coarse


def _rolled(rng: np.random.Generator, size: int, angle: float) -> np.ndarray:
    unit = size / 128
    grain = smooth_noise(rng, size, 0.7 * unit)
    fibre = _along(rng, size, angle, rng.uniform(3, 6) * unit, 0.8 * unit)
    band = _along(rng, size, angle, 60 * unit, rng.uniform(4, 9) * unit)
    return 0.7 * grain + 0.8 * fibre + rng.uniform(0.3, 0.7) * band


def _speckled(rng: np.random.Generator, size: int, angle: float) -> np.ndarray:
    unit = size / 128
    fine = smooth_noise(rng, size, rng.uniform(0.6, 0.9) * unit)
    cell = smooth_noise(rng, size, rng.uniform(1.4, 2.6) * unit)
    # Ridges of the coarser noise read as grain boundaries.
    ridge = -np.abs(cell)
    ridge = (ridge - ridge.mean()) / ridge.std()
    return 0.8 * fine + rng.uniform(0.3, 0.9) * (ridge if rng.random() < 0.5 else cell)


def _mottled(rng: np.random.Generator, size: int, angle: float) -> np.ndarray:
    unit = size / 128
    scales = ((0.6, 0.8), (2.0, 0.45), (6.0, rng.uniform(0.2, 0.5)))
    noises = [weight * smooth_noise(rng, size, sigma * unit) for sigma, weight in scales]
    return sum(noises[1:], noises[0])


_FINISHES = (_brushed, _rolled, _speckled, _mottled)


def make_surface(rng: np.random.Generator, size: int) -> Surface:
    """Draw a finish, its direction, grey level and contrast."""
    finish = _FINISHES[rng.integers(len(_FINISHES))]
    # Strip runs along an image axis, up to the tilt of the camera.
    angle = rng.choice([0.0, np.pi / 2]) + rng.normal(0, 0.06)
    grain = finish(rng, size, angle)
    grain = (grain - grain.mean()) / grain.std()
    depth = rng.uniform(0.018, 0.06)
    noise = rng.uniform(0.008, 0.025)
    image = (rng.uniform(0.36, 0.62) + depth * grain).astype(np.float32)
    return Surface(image, float(angle), float(np.hypot(depth, noise)), float(noise))


def _grid(size: int) -> tuple[np.ndarray, np.ndarray]:
    y, x = np.mgrid[:size, :size].astype(np.float32) / size
    return x, y


def _streaks(rng: np.random.Generator, surface: Surface) -> np.ndarray:
    """Faint full-width lines along the grain: the finish itself, not scratches."""
    size, unit = surface.size, surface.unit
    along = np.array([np.cos(surface.angle), np.sin(surface.angle)])
    delta = np.zeros((size, size), np.float32)
    for _ in range(rng.integers(1, 4)):
        middle = rng.uniform(0, size, 2)
        ends = np.stack([middle - 2 * size * along, middle + 2 * size * along])
        line = stroke(size, ends, np.array([rng.uniform(1.0, 2.5) * unit]))
        delta += line * rng.choice([-1, 1]) * rng.uniform(0.5, 1.0)
    return surface.contrast * delta


def _chatter(rng: np.random.Generator, surface: Surface) -> np.ndarray:
    """Roll marks: a faint wave across the rolling direction."""
    x, y = _grid(surface.size)
    position = x * np.cos(surface.angle) + y * np.sin(surface.angle)
    wave = np.sin(2 * np.pi * (position * rng.uniform(4, 14) + rng.random()))
    return surface.contrast * rng.uniform(0.3, 0.7) * wave


def _clouds(rng: np.random.Generator, surface: Surface) -> np.ndarray:
    """Uneven pickling: shading without an outline."""
    shade = smooth_noise(rng, surface.size, rng.uniform(14, 24) * surface.unit)
    return surface.contrast * rng.uniform(0.4, 0.9) * shade


def _dust(rng: np.random.Generator, surface: Surface) -> np.ndarray:
    """Specks well below the size of a pit."""
    size = surface.size
    delta = np.zeros((size, size), np.float32)
    for _ in range(rng.integers(3, 12)):
        x, y = rng.integers(0, size, 2)
        delta[y, x] = rng.choice([-1.0, 1.0], p=[0.6, 0.4]) * rng.uniform(2, 5)
    sigma = 0.45 * surface.unit
    return surface.contrast * ndimage.gaussian_filter(delta, sigma) * surface.unit**2


_DISTRACTORS = (_streaks, _chatter, _clouds, _dust)


def add_distractors(rng: np.random.Generator, surface: Surface) -> None:
    """Add up to three harmless marks to ``surface.image`` in place."""
    for index in rng.permutation(len(_DISTRACTORS))[: rng.integers(0, 4)]:
        surface.image += _DISTRACTORS[index](rng, surface)


def _ramp(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    direction = rng.uniform(0, 2 * np.pi)
    ramp = (x - 0.5) * np.cos(direction) + (y - 0.5) * np.sin(direction)
    return 1 + rng.uniform(0, 0.45) * ramp


def _glare(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    centre_x, centre_y = rng.uniform(-0.2, 1.2, 2)
    spread = rng.uniform(0.25, 0.5)
    distance = ((x - centre_x) ** 2 + (y - centre_y) ** 2) / spread**2
    return 1 + rng.uniform(0.05, 0.3) * np.exp(-distance)


def _vignette(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return 1 - rng.uniform(0, 0.35) * ((x - 0.5) ** 2 + (y - 0.5) ** 2)


def expose(rng: np.random.Generator, surface: Surface) -> np.ndarray:
    """Light the surface unevenly, blur, add sensor noise and quantise to (size, size) uint8."""
    x, y = _grid(surface.size)
    image = surface.image.copy()
    for light in (_ramp, _glare, _vignette):
        image *= light(rng, x, y)
    image = ndimage.gaussian_filter(image, rng.uniform(0.2, 0.55) * surface.unit)
    image += surface.noise * rng.standard_normal(image.shape).astype(np.float32)
    return np.round(np.clip(image, 0, 1) * 255).astype(np.uint8)

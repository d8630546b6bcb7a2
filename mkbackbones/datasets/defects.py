"""Procedural surface defects: five classes, each with several looks.

Every maker takes a generator and the :class:`~mkbackbones.datasets.textures.Surface` and returns a
:class:`Defect`: the change of the reflectance and the visible footprint. What may be confused, is
told apart by

* scratch: thin, smooth line, any direction but that of the grain;
* pit: small round hollow with one lit rim, alone or in a cluster;
* inclusion: ragged, granular sliver along the rolling direction;
* stain: smooth soft outline, the grain shows through;
* patch: jagged sharp outline, the grain is replaced.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from .textures import Surface, smooth_noise, stroke

__all__ = ['DEFECT_MAKERS', 'Defect']


@dataclass
class Defect:
    """A defect to be added to a surface.

    Args:
        delta (np.ndarray): Change of the reflectance, (size, size) float32.
        mask (np.ndarray): Visible footprint, (size, size) bool; may have several components.
    """

    delta: np.ndarray
    mask: np.ndarray


def _polar(surface: Surface, centre: np.ndarray, angle: float) -> tuple[np.ndarray, np.ndarray]:
    """Pixel coordinates along and across ``angle``, origin at ``centre``."""
    y, x = np.mgrid[: surface.size, : surface.size].astype(np.float32)
    x, y = x - centre[0], y - centre[1]
    return (
        x * np.cos(angle) + y * np.sin(angle),
        -x * np.sin(angle) + y * np.cos(angle),
    )


def _blob(
    surface: Surface,
    centre: np.ndarray,
    radii: tuple[float, float],
    angle: float,
    *,
    edge: float,
    wobble: np.ndarray | float = 0.0,
) -> np.ndarray:
    """Coverage in [0, 1] of an ellipse with a deformed outline.

    Args:
        surface (Surface): Gives the image size.
        centre (np.ndarray): Centre x, y in pixels.
        radii (tuple): Half axes along and across ``angle`` in pixels.
        angle (float): Direction of the first axis in radians.
        edge (float): Width of the transition at the outline in pixels.
        wobble (np.ndarray | float): Relative displacement of the outline, (size, size).
    """
    along, across = _polar(surface, centre, angle)
    rho = np.sqrt((along / radii[0]) ** 2 + (across / radii[1]) ** 2)
    inside = (1 + wobble - rho) * min(radii)
    return np.clip(0.5 + inside / edge, 0, 1).astype(np.float32)


def _main_part(cover: np.ndarray) -> np.ndarray:
    """Drop the islands that a deformed outline leaves, keep the largest part without holes."""
    labels, count = ndimage.label(cover > 0.5)
    if count == 0:
        return np.zeros_like(cover)
    largest = labels == 1 + np.argmax(ndimage.sum_labels(cover, labels, np.arange(1, count + 1)))
    filled = ndimage.binary_fill_holes(largest)
    cover = np.where(filled & ~largest, 1, cover)
    return cover * ndimage.binary_dilation(filled, iterations=2)


def _centre(rng: np.random.Generator, surface: Surface) -> np.ndarray:
    return rng.uniform(0.08, 0.92, 2) * surface.size


def _strength(rng: np.random.Generator, surface: Surface, low: float, high: float) -> float:
    """Grey difference for a visibility of ``low`` to ``high`` times the surface contrast."""
    return rng.uniform(low, high) * max(surface.contrast, 0.035)


def _scratch(rng: np.random.Generator, surface: Surface) -> Defect:
    size, unit = surface.size, surface.unit
    look = rng.choice(['straight', 'curved', 'strands', 'skipping'], p=[0.35, 0.3, 0.2, 0.15])
    # Lines along the grain are streaks of the finish, which are harmless.
    angle = surface.angle + rng.choice([-1, 1]) * rng.uniform(0.22, np.pi / 2)
    length = rng.uniform(22, 95) * unit
    direction = np.array([np.cos(angle), np.sin(angle)])
    normal = np.array([-direction[1], direction[0]])
    bend = rng.uniform(0.12, 0.4) * rng.choice([-1, 1]) if look == 'curved' else rng.normal(0, 0.02)
    steps = np.linspace(-1, 1, 33)
    middle = (steps[:-1] + steps[1:]) / 2
    taper = np.clip(1.6 * (1 - np.abs(middle) ** 3), 0.45, 1)
    width = rng.uniform(1.0, 2.4) * unit
    if look == 'skipping':
        taper *= np.sin(middle * rng.uniform(9, 14) + rng.uniform(0, 6)) > -0.45
    centre = _centre(rng, surface)
    cover = np.zeros((size, size), np.float32)
    for strand in range(rng.integers(2, 4) if look == 'strands' else 1):
        shift = strand * rng.uniform(3.2, 4.5) * unit
        start = rng.uniform(-0.15, 0.15) * length if strand else 0
        points = (
            centre
            + np.outer(steps * length / 2 + start, direction)
            + np.outer((1 - steps**2) * bend * length / 2 + shift, normal)
        )
        cover = np.maximum(cover, stroke(size, points, width * taper))
    amount = _strength(rng, surface, 2.6, 5.5) * rng.choice([1, -1], p=[0.6, 0.4])
    delta = amount * cover
    if rng.random() < 0.4:  # the burr beside the groove
        burr = ndimage.shift(cover, normal[::-1] * width, order=1)
        delta -= 0.6 * amount * burr * (1 - cover)
    return Defect(delta, cover > 0.35)


def _crater(
    rng: np.random.Generator, surface: Surface, centre: np.ndarray, radius: float, light: float
) -> tuple[np.ndarray, np.ndarray]:
    """A hollow's shading in [-1, 1] and its coverage."""
    stretch = rng.uniform(0.8, 1.25)
    wobble = 0.12 * smooth_noise(rng, surface.size, 2 * surface.unit)
    radii = (radius * stretch, radius / stretch)
    angle = rng.uniform(0, np.pi)
    cover = _blob(surface, centre, radii, angle, edge=1.2 * surface.unit, wobble=wobble)
    along, _ = _polar(surface, centre, light)
    # Dark on the side of the lamp, bright on the far wall.
    slope = np.clip(along / radius, -1, 1)
    return cover * (-0.75 + 0.95 * slope), cover


def _pit(rng: np.random.Generator, surface: Surface) -> Defect:
    unit = surface.unit
    light = rng.uniform(0, 2 * np.pi)
    centre = _centre(rng, surface)
    delta = np.zeros_like(surface.image)
    mask = np.zeros(surface.image.shape, bool)
    if rng.random() < 0.5:
        spots = [(centre, rng.uniform(2.8, 6.5) * unit)]
    else:
        spread = rng.uniform(3.5, 9) * unit
        spots = [
            (centre + rng.normal(0, spread, 2), rng.uniform(1.5, 3.0) * unit)
            for _ in range(rng.integers(3, 10))
        ]
    for position, radius in spots:
        shade, cover = _crater(rng, surface, position, radius, light)
        delta = np.where(cover > 0.02, shade, delta)
        mask |= cover > 0.5
    return Defect(delta * _strength(rng, surface, 2.8, 5.5), mask)


def _sliver(
    rng: np.random.Generator, surface: Surface, centre: np.ndarray, length: float, angle: float
) -> np.ndarray:
    unit = surface.unit
    width = rng.uniform(1.8, 4.5) * unit
    wobble = 0.32 * smooth_noise(rng, surface.size, rng.uniform(1.3, 2.2) * unit)
    return _main_part(
        _blob(surface, centre, (length / 2, width), angle, edge=1.3 * unit, wobble=wobble)
    )


def _inclusion(rng: np.random.Generator, surface: Surface) -> Defect:
    unit = surface.unit
    angle = surface.angle + rng.normal(0, 0.08)
    centre = _centre(rng, surface)
    if rng.random() < 0.55:
        cover = _sliver(rng, surface, centre, rng.uniform(16, 55) * unit, angle)
    else:  # a stringer: one particle rolled out into fragments
        direction = np.array([np.cos(angle), np.sin(angle)])
        cover = np.zeros_like(surface.image)
        position = 0.0
        for _ in range(rng.integers(2, 5)):
            length = rng.uniform(8, 20) * unit
            sideways = rng.normal(0, 1.2, 2) * unit
            place = centre + (position + length / 2) * direction + sideways
            cover = np.maximum(cover, _sliver(rng, surface, place, length, angle))
            position += length + rng.uniform(2, 5) * unit
    grains = 1 + 0.35 * smooth_noise(rng, surface.size, 0.8 * unit)
    amount = _strength(rng, surface, 2.2, 4.5) * rng.choice([-1, 1], p=[0.75, 0.25])
    return Defect(amount * cover * np.clip(grains, 0.2, 1.8), cover > 0.5)


def _stain(rng: np.random.Generator, surface: Surface) -> Defect:
    unit = surface.unit
    look = rng.choice(['wash', 'ring', 'run', 'splash'], p=[0.35, 0.25, 0.2, 0.2])
    angle = rng.uniform(0, np.pi)
    centre = _centre(rng, surface)
    radius = rng.uniform(8, 22) * unit
    stretch = rng.uniform(1.0, 1.5)
    radii = (radius * stretch, radius / stretch)
    if look == 'run':  # the liquid ran down
        angle = np.pi / 2 + rng.normal(0, 0.1)
        radii = (radius * rng.uniform(1.3, 2.2), radius * rng.uniform(0.3, 0.5))
    wobble = 0.18 * smooth_noise(rng, surface.size, 0.45 * radius)
    edge = rng.uniform(2.5, 5) * unit
    cover = _main_part(_blob(surface, centre, radii, angle, edge=edge, wobble=wobble))
    if look == 'splash':
        for _ in range(rng.integers(2, 6)):
            turn, drop = rng.uniform(0, 2 * np.pi), rng.uniform(1.8, 4) * unit
            away = radius * rng.uniform(1.3, 1.7)
            place = centre + away * np.array([np.cos(turn), np.sin(turn)])
            cover = np.maximum(cover, _blob(surface, place, (drop, drop), 0, edge=1.5 * unit))
    depth = cover
    if look == 'ring':  # drying leaves more at the rim
        inner = ndimage.gaussian_filter(cover, 2.2 * unit)
        depth = 0.45 * cover + 2.6 * cover * np.clip(1 - inner, 0, 0.5)
    amount = _strength(rng, surface, 2.2, 4.2) * rng.choice([-1, 1], p=[0.7, 0.3])
    return Defect(amount * depth, cover > 0.4)


def _patch(rng: np.random.Generator, surface: Surface) -> Defect:
    unit = surface.unit
    angle = rng.uniform(0, np.pi)
    radius = rng.uniform(8, 20) * unit
    stretch = rng.uniform(1.0, 1.5)
    jag = 0.22 * smooth_noise(rng, surface.size, 0.35 * radius)
    jag += 0.11 * smooth_noise(rng, surface.size, 0.9 * unit)
    radii = (radius * stretch, radius / stretch)
    centre = _centre(rng, surface)
    cover = _main_part(_blob(surface, centre, radii, angle, edge=0.9 * unit, wobble=jag))
    amount = _strength(rng, surface, 1.9, 3.6) * rng.choice([-1, 1])
    blotches = smooth_noise(rng, surface.size, rng.uniform(1.0, 2.4) * unit)
    scale = surface.image.mean() + amount + rng.uniform(0.9, 1.8) * surface.contrast * blotches
    return Defect(cover * (scale - surface.image), cover > 0.5)


DEFECT_MAKERS: dict[str, Callable[[np.random.Generator, Surface], Defect]] = {
    'scratch': _scratch,
    'pit': _pit,
    'inclusion': _inclusion,
    'stain': _stain,
    'patch': _patch,
}

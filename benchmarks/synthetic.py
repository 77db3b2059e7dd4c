"""Pictures that resemble photographs, made from random numbers: smooth areas, edges, and a little noise.

White noise has the same average everywhere, so that a network answers the same to every such picture, and fidelity
on it tells nothing.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

GRIDS = (2, 3, 5, 9, 17)
"""Points at each side of the random grids that a picture is the sum of."""
SHAPES = 6
"""Ellipses of one color in a picture."""
NOISE = 4.0
"""Standard deviation of the noise of each pixel, of 255."""


def save(path: Path, count: int, size: int) -> Path:
    """Write pictures into the column `image` of an .npz file, unless the file exists."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, image=pictures(count, size))
    return path


def pictures(count: int, size: int) -> np.ndarray:
    """Return uint8 [count, size, size, 3]; each depends on its index and the size only."""
    found = np.empty((count, size, size, 3), np.uint8)
    for index in range(count):
        found[index] = _picture(np.random.default_rng(index), size)
    return found


def _picture(random: np.random.Generator, size: int) -> np.ndarray:
    contrast = random.uniform(20, 60)
    image = random.uniform(60, 190) + random.normal(0, 20, 3) + np.zeros((size, size, 3))
    for points in GRIDS:
        image += _enlarged(random.normal(0, contrast / np.sqrt(points), (points, points, 3)), size)
    rows, columns = np.mgrid[:size, :size] / size
    for _ in range(SHAPES):
        (top, left), (height, width) = random.random(2), random.uniform(0.03, 0.3, 2)
        inside = ((rows - top) / height) ** 2 + ((columns - left) / width) ** 2 < 1
        image[inside] += random.normal(0, contrast, 3)
    image += random.normal(0, NOISE, image.shape)
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


def _enlarged(grid: np.ndarray, size: int) -> np.ndarray:
    """Interpolate the grid linearly to a picture of that size."""
    weights = np.maximum(0, 1 - np.abs(np.linspace(0, len(grid) - 1, size)[:, np.newaxis] - np.arange(len(grid))))
    enlarged: np.ndarray = np.einsum("yi,xj,ijc->yxc", weights, weights, grid, optimize=True)
    return enlarged

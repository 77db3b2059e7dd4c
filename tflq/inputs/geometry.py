"""Resizing and cropping, as tf.image does it: pixels have their centres at half coordinates."""

from __future__ import annotations

from typing import Literal

import numpy as np

Method = Literal["nearest", "bilinear", "bicubic"]
Size = tuple[int, int]
"""Height and width."""
GRAY_WEIGHTS = np.array([0.2989, 0.587, 0.114], np.float32)
"""Of red, green and blue, as in tf.image.rgb_to_grayscale."""


def resize(picture: np.ndarray, size: Size, method: Method, antialias: bool) -> np.ndarray:
    """A float32 picture [height, width, channels] in another size.

    Like `tf.image.resize` with half-pixel centres: it differs by up to 0.01 of 255, and nearest does not differ.
    """
    if picture.shape[:2] == size:
        return picture
    if method == "nearest":
        rows, columns = (_nearest(given, wanted) for given, wanted in zip(picture.shape, size, strict=False))
        chosen: np.ndarray = picture[rows][:, columns]
        return chosen
    channels = [_resampled(picture[..., i], size, method, antialias) for i in range(picture.shape[-1])]
    return np.stack(channels, axis=-1)


def _nearest(given: int, wanted: int) -> np.ndarray:
    centres = (np.arange(wanted, dtype=np.float32) + np.float32(0.5)) * (np.float32(given) / np.float32(wanted))
    return np.minimum(centres.astype(np.int64), given - 1)


def _resampled(channel: np.ndarray, size: Size, method: Method, antialias: bool) -> np.ndarray:
    from PIL import Image

    height, width = size
    image = Image.fromarray(np.ascontiguousarray(channel))
    filter_ = Image.Resampling.BILINEAR if method == "bilinear" else Image.Resampling.BICUBIC
    if antialias:
        return np.asarray(image.resize((width, height), filter_))
    scale = (image.width / width, 0, 0, 0, image.height / height, 0)
    return np.asarray(image.transform((width, height), Image.Transform.AFFINE, scale, filter_))


def cover(given: Size, wanted: Size) -> Size:
    """The size in the given proportions that just covers the wanted one; its free side is rounded."""
    scale = max(wanted[0] / given[0], wanted[1] / given[1])
    return max(wanted[0], round(given[0] * scale)), max(wanted[1], round(given[1] * scale))


def crop(picture: np.ndarray, size: Size) -> np.ndarray:
    """The middle; where it cannot be exact, half a pixel to the upper left."""
    top, left = ((has - wanted) // 2 for has, wanted in zip(picture.shape, size, strict=False))
    return picture[top : top + size[0], left : left + size[1]]

"""Decode images with Pillow, whichever dataset they come from, so that pixels are the same to the bit."""

from __future__ import annotations

import io
import struct
from typing import TYPE_CHECKING

import numpy as np

from tflq.errors import DatasetError

if TYPE_CHECKING:
    from PIL.Image import Image

MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
"""Number of channels → Pillow's name of the image mode."""


def decode(encoded: bytes, name: str, channels: int | None = None) -> np.ndarray:
    """Return the pixels as uint8 [height, width, channels]. DatasetError names the image if it is broken.

    If `channels` is None, a grayscale image has one channel and any other has three. Palettes are resolved, alpha is
    dropped, and of 16 bits the upper 8 are kept. The orientation in EXIF data is not applied: TensorFlow does not apply
    it either, so models are trained on such images without it.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(encoded)) as opened:
            picture = _plain(opened)
            pixels = np.asarray(picture.convert(MODES.get(channels or 0, "L" if _is_gray(picture) else "RGB")))
    except UnidentifiedImageError as error:
        raise DatasetError(f"{name}: is not an image in a known format") from error
    except (OSError, ValueError, SyntaxError, EOFError, struct.error, Image.DecompressionBombError) as error:
        raise DatasetError(f"{name}: is a broken image: {error}") from error
    return pixels.reshape(*pixels.shape[:2], -1)


def _plain(picture: Image) -> Image:
    from PIL import Image

    if picture.mode.startswith("I"):  # gray of 16 bits; Pillow itself would cut off at 255
        return Image.fromarray(np.clip(np.asarray(picture) >> 8, 0, 255).astype(np.uint8))
    return picture.convert("RGBA") if picture.mode == "P" else picture


def _is_gray(picture: Image) -> bool:
    return picture.mode in ("1", "L", "LA", "La")

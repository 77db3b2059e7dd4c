"""Decode images with Pillow. All kinds of dataset use this, so their pixels are equal to the bit."""

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


def decode_image(encoded: bytes, name: str, channels: int | None = None) -> np.ndarray:
    """Return the pixels as uint8 [height, width, channels]. Raise DatasetError with `name` if the image is broken.

    If `channels` is None, a grayscale image has one channel and any other has three. Palettes are resolved and alpha is
    dropped. The upper 8 of 16 bits are kept. The orientation in EXIF data is not applied. TensorFlow does not apply it
    either, so models are trained without it.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(encoded)) as opened:
            image = _plain(opened)
            pixels = np.asarray(image.convert(MODES.get(channels or 0, "L" if _is_gray(image) else "RGB")))
    except UnidentifiedImageError as error:
        raise DatasetError(f"{name}: is not an image in a known format") from error
    except (OSError, ValueError, SyntaxError, EOFError, struct.error, Image.DecompressionBombError) as error:
        raise DatasetError(f"{name}: is a broken image: {error}") from error
    return pixels.reshape(*pixels.shape[:2], -1)


def _plain(image: Image) -> Image:
    from PIL import Image

    if image.mode.startswith("I"):  # 16-bit grayscale: Pillow would clip it at 255
        return Image.fromarray(np.clip(np.asarray(image) >> 8, 0, 255).astype(np.uint8))
    return image.convert("RGBA") if image.mode == "P" else image


def _is_gray(image: Image) -> bool:
    return image.mode in ("1", "L", "LA", "La")

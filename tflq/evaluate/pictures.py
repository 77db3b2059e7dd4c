"""Small pictures of samples, for people who look at a report."""

from __future__ import annotations

import io

import numpy as np

from tflq.datasets import Sample

SMALL = 32
"""Up to this size in pixels, a picture is stored as it is, as PNG. A larger one becomes a JPEG."""
LONGEST = 72
"""The longest side of a stored picture in pixels."""
_QUALITY = 80


def picture(sample: Sample) -> bytes | None:
    """Return a picture of the first input that is one: height, width, and 1 or 3 channels. None if there is none.

    Values are stretched from the lowest and the highest of the sample to black and white.
    """
    from PIL import Image

    found = next((array for array in sample.values() if _is_picture(array)), None)
    if found is None:
        return None
    low, high = float(found.min()), float(found.max())
    if found.dtype == np.uint8:
        low, high = 0.0, 255.0
    pixels = np.rint((found.astype(np.float64) - low) * (255 / ((high - low) or 1))).astype(np.uint8)
    image = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    target = io.BytesIO()
    if max(image.size) <= SMALL:
        image.save(target, "PNG")
    else:
        image.thumbnail((LONGEST, LONGEST))
        image.save(target, "JPEG", quality=_QUALITY)
    return target.getvalue()


def _is_picture(array: np.ndarray) -> bool:
    is_shaped = array.ndim == 3 and array.shape[-1] in (1, 3) and min(array.shape[:2]) >= 4
    return is_shaped and array.dtype.kind in "fiu" and bool(np.isfinite(array).all())

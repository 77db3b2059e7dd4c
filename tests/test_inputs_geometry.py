from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tflq.inputs.geometry import GRAY_WEIGHTS, cover, crop, resize

SIZES = [
    ((37, 53, 3), (16, 16)),
    ((16, 16, 3), (37, 53)),
    ((375, 500, 3), (224, 224)),
    ((100, 100, 1), (33, 177)),
    ((500, 3, 2), (7, 90)),
    ((5, 5, 1), (1, 1)),
    ((1, 1, 1), (4, 3)),
]


@pytest.mark.parametrize(("shape", "size"), SIZES)
@pytest.mark.parametrize(
    ("method", "antialias", "tolerance"),
    [("nearest", True, 0), ("bilinear", True, 0.01), ("bilinear", False, 0.01), ("bicubic", True, 0.01)],
)
def test_resize_is_tensorflow_s(
    shape: tuple[int, ...], size: tuple[int, int], method: str, antialias: bool, tolerance: float
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, shape).astype(np.float32)
    expected = tf.image.resize(noise, size, method=method, antialias=antialias)
    resized = resize(noise, size, method, antialias)
    assert (resized.dtype, resized.shape) == (np.float32, (*size, shape[-1]))
    np.testing.assert_allclose(resized, expected, rtol=0, atol=tolerance)


def test_nothing_is_done_to_a_picture_of_the_size() -> None:
    picture = np.zeros((4, 6, 3), np.float32)
    assert resize(picture, (4, 6), "bilinear", antialias=True) is picture


def test_gray_weights_are_tensorflow_s() -> None:
    photo = np.random.default_rng(0).random((5, 5, 3)).astype(np.float32)
    np.testing.assert_allclose(photo @ GRAY_WEIGHTS, tf.image.rgb_to_grayscale(photo)[..., 0], rtol=1e-6)


@pytest.mark.parametrize(
    ("given", "wanted", "covering"),
    [
        ((480, 640), (224, 224), (224, 299)),
        ((640, 480), (224, 224), (299, 224)),
        ((100, 100), (50, 80), (80, 80)),
        ((10, 10), (30, 20), (30, 30)),
        ((224, 224), (224, 224), (224, 224)),
        ((3, 1000), (5, 5), (5, 1667)),
    ],
)
def test_cover(given: tuple[int, int], wanted: tuple[int, int], covering: tuple[int, int]) -> None:
    assert cover(given, wanted) == covering


@pytest.mark.parametrize(
    ("given", "size", "top_left"), [((5, 8), (3, 4), (1, 2)), ((4, 4), (3, 3), (0, 0)), ((3, 3), (3, 3), (0, 0))]
)
def test_crop_keeps_the_middle(given: tuple[int, int], size: tuple[int, int], top_left: tuple[int, int]) -> None:
    rows, columns = np.mgrid[: given[0], : given[1]]
    kept = crop(np.stack([rows, columns], axis=-1), size)
    assert kept.shape == (*size, 2)
    assert tuple(kept[0, 0]) == top_left

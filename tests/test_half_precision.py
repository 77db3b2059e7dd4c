"""Keras files in half precision or with open sizes, and SavedModels in half precision."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tflq.errors import SourceError
from tflq.inputs.schema import Input
from tflq.sources.keras_file import Keras
from tflq.sources.prepare import prepare
from tflq.sources.saved_model import SavedModel

SIZES = {"image": Input(shape=(1, 8, 8, 3))}


def network(policy: str, size: int | None) -> Any:
    import keras
    from keras import layers

    keras.config.set_dtype_policy(policy)
    try:
        image = keras.Input((size, size, 3), name="image")
        x = layers.UpSampling2D(2, interpolation="bilinear")(layers.Conv2D(4, 3)(image))
        return keras.Model(image, layers.GlobalAveragePooling2D()(x))
    finally:
        keras.config.set_dtype_policy("float32")


def ignore(_done: int, _total: int) -> None:
    pass


@pytest.mark.parametrize("name", ["mixed.keras", "mixed.h5"])
def test_keras_file_in_half_precision_is_loaded_in_float32(tmp_path: Path, name: str) -> None:
    network("mixed_float16", 8).save(tmp_path / name)
    prepared = prepare(ignore, Keras(keras=tmp_path / name), {}, tmp_path / "prepared")
    assert {spec.dtype for spec in (*prepared.inputs, *prepared.outputs)} == {"float32"}
    (note,) = prepared.notes
    assert note.endswith("mixed_float16; they were loaded in float32")


def test_sizes_of_the_recipe_are_set_before_the_export(tmp_path: Path) -> None:
    model = network("float32", None)
    model.save(tmp_path / "open.keras")
    source = Keras(keras=tmp_path / "open.keras")
    prepared = prepare(ignore, source, SIZES, tmp_path / "prepared")
    assert prepared.inputs[0].shape == (1, 8, 8, 3)
    assert prepared.notes == ()
    with pytest.raises(SourceError, match=r"the input 'image' is \[\?, \?, \?, 3\]: give inputs\.image\.shape"):
        prepare(ignore, source, {}, tmp_path / "again")


def test_saved_model_in_half_precision_is_refused(tmp_path: Path) -> None:
    network("mixed_float16", 8).export(tmp_path / "mixed", verbose=False)
    with pytest.raises(SourceError, match=r"it computes in float16, such as the Conv2D .*give the \.keras file"):
        prepare(ignore, SavedModel(saved_model=tmp_path / "mixed"), {}, tmp_path / "prepared")


def test_float16_input_is_refused(tmp_path: Path) -> None:
    import tensorflow as tf

    @tf.function(input_signature=[tf.TensorSpec((1, 4), tf.float16, name="x")])
    def serve(x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": tf.cast(x, tf.float32) * np.float32(2)}

    tf.saved_model.save(tf.Module(), str(tmp_path / "half"), signatures=serve)
    with pytest.raises(SourceError, match="its input 'x' is float16"):
        prepare(ignore, SavedModel(saved_model=tmp_path / "half"), {}, tmp_path / "prepared")

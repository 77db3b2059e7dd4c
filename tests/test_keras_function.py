"""A Keras 3 model that is traced without an export: the converter makes the same file of it."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest

from tflq import conversion
from tflq.errors import SourceError
from tflq.modes import Float32
from tflq.sources.keras_file import Keras
from tflq.sources.keras_function import traced
from tflq.sources.prepare import prepare
from tflq.sources.saved_model import SavedModel
from tflq.worker import ProgressCallback, Task, Workers

MODELS = (
    *("keras3.keras", "keras3.h5", "attention.keras", "trainable_keras3.keras"),
    *("two_heads.keras", "trainable_nested.keras", "gru_states.keras"),
)


def export(_: ProgressCallback, model: Keras, folder: Path) -> SavedModel:
    """Return what Keras' own export writes."""
    return model.saved(folder, {})[0]


def converted(model: Keras | SavedModel, folder: Path) -> tuple[bytes, bool]:
    """Return the float32 file of the model in its folder, and whether an export is beside it."""
    with Workers(folder / "log", None, lambda _: None) as workers:
        source = workers.run(Task("prepare", prepare, (model, {}, folder), SourceError)).value
        workers.run(Task("convert", conversion.convert, (source, Float32(), folder / "file.tflite"), SourceError))
    return (folder / "file.tflite").read_bytes(), (folder / "keras").exists()


@pytest.mark.parametrize("file", MODELS)
def test_file_is_that_of_the_export(models: Path, tmp_path: Path, file: str) -> None:
    """Also the names of inputs, outputs and tensors are the same."""
    model, exported, traced = Keras(keras=models / file), tmp_path / "exported", tmp_path / "traced"
    exported.mkdir()
    traced.mkdir()
    with Workers(tmp_path / "log", None, lambda _: None) as workers:
        saved = workers.run(Task("export", export, (model, tmp_path / "saved"), SourceError)).value
    assert converted(model, traced) == (converted(saved, exported)[0], False)


def refused(_: ProgressCallback) -> dict[str, bool]:
    """Return for a model of each kind whether it is refused."""
    import keras
    from keras import layers

    x, odd = keras.Input((4,), name="x"), keras.Input((4,), name="odd-name")
    sparse = keras.Input((4,), sparse=True, name="sparse")
    both = layers.Dense(2)(x), layers.Dense(3)(x)

    class Subclassed(keras.Model):
        def call(self, inputs):  # type: ignore[no-untyped-def]
            return inputs

    models = {
        "plain": keras.Model(x, both),
        "nested": keras.Model(x, {"both": list(both)}),
        "odd name": keras.Model(odd, layers.Dense(2)(odd)),
        "sparse": keras.Model(sparse, layers.Dense(2)(sparse)),
        "subclassed": Subclassed(),
    }
    return {name: traced(model) is None for name, model in models.items()}


def variables_after_collection(_: ProgressCallback, model: Keras, folder: Path) -> int:
    """Return the number of variables of the function, when Python has freed all that nothing holds."""
    found, _notes = model.traced(folder, {})
    gc.collect()
    assert found is not None
    return len(list(found.function.graph.variables))


def test_variables_live_as_long_as_the_traced_model(models: Path, tmp_path: Path) -> None:
    arguments = (Keras(keras=models / "two_heads.keras"), tmp_path)
    with Workers(tmp_path / "log", None, lambda _: None) as workers:
        assert workers.run(Task("trace", variables_after_collection, arguments, SourceError)).value == 4


def op_types_of_augmentation(_: ProgressCallback) -> set[str]:
    """Return the op types of a traced model that flips pictures when it is trained."""
    import keras

    image = keras.Input((8, 8, 3), name="image")
    flipped = keras.layers.RandomFlip()(image)
    found = traced(keras.Model(image, keras.layers.Flatten()(keras.layers.Dropout(0.5)(flipped))))
    assert found is not None
    definition = found.function.graph.as_graph_def()
    nodes = [*definition.node, *(node for each in definition.library.function for node in each.node_def)]
    return {node.op for node in nodes}


def test_layers_of_augmentation_are_off(tmp_path: Path) -> None:
    """Keras' export leaves them on, and TensorFlow Lite has no ops for them."""
    with Workers(tmp_path / "log", None, lambda _: None) as workers:
        found = workers.run(Task("trace", op_types_of_augmentation, (), SourceError)).value
    assert not {name for name in found if "Random" in name}


def test_models_that_need_an_export(tmp_path: Path) -> None:
    with Workers(tmp_path / "log", None, lambda _: None) as workers:
        found = workers.run(Task("trace", refused, (), SourceError)).value
    assert found == {"plain": False, "nested": True, "odd name": True, "sparse": True, "subclassed": True}

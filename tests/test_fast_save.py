"""A SavedModel without the functions of TensorFlow's saver: the converter makes the same file of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tflq.errors import SourceError
from tflq.interpreter import Runner
from tflq.sources.fast_save import save_function
from tflq.sources.prepared import SIGNATURE
from tflq.worker import ProgressCallback, Task, Workers

X = np.ones((1, 3), np.float32)


def saved_twice(_: ProgressCallback, names: tuple[str, ...], folder: Path) -> tuple[bool, bytes, bytes]:
    """Save y = Σ v·x over variables v with these names, fast and with TensorFlow's saver; convert both."""
    import tensorflow as tf

    variables = [tf.Variable(np.full(3, 2.0 + place, np.float32), name=name) for place, name in enumerate(names)]
    specs = [tf.TensorSpec(X.shape, tf.float32, "x")]
    serve = tf.function(lambda x: {"y": sum((v * x for v in variables), x)}, input_signature=specs)
    function, module = serve.get_concrete_function(), tf.Module()
    module.resources = variables
    is_saved = save_function(function, variables, folder / "fast")
    tf.saved_model.save(module, str(folder / "whole"), signatures={SIGNATURE: function})
    fast, whole = (tf.lite.TFLiteConverter.from_saved_model(str(folder / kind)).convert() for kind in ("fast", "whole"))
    return is_saved, fast, whole


@pytest.mark.parametrize("names", [("a", "b", "c"), ("only",), ()])
def test_file_is_the_same_as_with_the_saver(names: tuple[str, ...], tmp_path: Path) -> None:
    is_saved, fast, whole = run(names, tmp_path)
    assert is_saved
    assert fast == whole
    (tmp_path / "file.tflite").write_bytes(fast)
    np.testing.assert_allclose(
        Runner(tmp_path / "file.tflite")({"x": X})["y"], 1 + sum(2 + i for i in range(len(names)))
    )


def test_variables_of_one_name_need_the_saver(tmp_path: Path) -> None:
    assert not run(("same", "same"), tmp_path)[0]


def run(names: tuple[str, ...], folder: Path) -> tuple[bool, bytes, bytes]:
    with Workers(folder / "log", None, lambda _: None) as workers:
        return workers.run(Task("save", saved_twice, (names, folder), SourceError)).value

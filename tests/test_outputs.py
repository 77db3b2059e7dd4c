"""Models that end at the tensors of `model.outputs`."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.running import Recipes
from tflq.conversion import explain
from tflq.errors import RecipeError, SourceError
from tflq.sources.schema import TFLite

HEAD = "score_head"


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SavedModel with an op behind its heads that TensorFlow Lite lacks, and a .tflite file of it."""
    import tensorflow as tf

    folder = tmp_path_factory.mktemp("detector")
    module = tf.Module()
    module.weights = tf.Variable(tf.random.stateless_normal((16, 12), (1, 2)))

    @tf.function(input_signature=[tf.TensorSpec((1, 16), tf.float32, name="x")])
    def serve(x: tf.Tensor) -> dict[str, tf.Tensor]:
        scores = tf.reshape(tf.sigmoid(x @ module.weights, name=HEAD), (1, 3, 4))
        found = tf.image.combined_non_max_suppression(scores[:, :, None], scores, 2, 2)
        return {"boxes": found[0], "scores": found[1]}

    tf.saved_model.save(module, str(folder / "detector"), signatures=serve)
    converter = tf.lite.TFLiteConverter.from_saved_model(str(folder / "detector"))
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS, tf.lite.OpsSet.SELECT_TF_OPS]
    (folder / "detector.tflite").write_bytes(converter.convert())
    return folder


@pytest.mark.parametrize(("kind", "name"), [("saved_model", "detector"), ("tflite", "detector.tflite")])
def test_model_ends_before_an_op_that_cannot_be_converted(
    recipes: Recipes, detector: Path, kind: str, name: str
) -> None:
    keys = {"model": {kind: str(detector / name), "outputs": [HEAD]}, "calibration": None}
    ran = recipes.run("with_sin", ["float32", "dynamic"], **keys)
    (main,) = ran.graph("float32").subgraphs
    assert [operator.type for operator in main.operators] == ["FULLY_CONNECTED", "LOGISTIC"]
    assert [name for name, _ in ran.graph("dynamic").signatures[0].outputs] == [HEAD]


def test_unknown_name_is_told_with_the_nearest(detector: Path) -> None:
    with pytest.raises(RecipeError, match=r"model\.outputs: there is no tensor 'scorehead' \(did you"):
        TFLite(tflite=detector / "detector.tflite", outputs=("scorehead",)).check()


def test_refusal_names_the_outputs_before_the_op(detector: Path) -> None:
    with pytest.raises(SourceError) as refused:
        TFLite(tflite=detector / "detector.tflite").check()
    outputs = re.search(r"or end the model before it with model\.outputs: \[(.*)\]$", str(refused.value))
    assert outputs is not None
    TFLite(tflite=detector / "detector.tflite", outputs=tuple(re.findall("'(.*?)'", outputs[1]))).check()


def test_message_does_not_ask_for_what_is_set() -> None:
    message = "'tf.Unique' op is neither a custom op nor a flex op"
    assert "set converter.select_tf_ops: true" in explain(message)
    assert "select_tf_ops: true" not in explain(message, has_tf_ops=True)
    assert "model.outputs" in explain(message, has_tf_ops=True)
    half = f"{message} : (tensor<1x8x8x3xf16>) -> (tensor<1x8xf16>)"
    assert "half precision" in explain(half, has_tf_ops=True)

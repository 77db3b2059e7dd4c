"""What the converter says, in words that a person can act on; and files that are made as asked."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from running import Ran, Recipes

from tflq.conversion import converter_errors

SAID = {
    "loop over a list": (
        "<unknown>:0: error: loc(callsite(\"while\")): 'tf.TensorListReserve' op requires element_shape to be static"
        " during TF Lite transformation pass",
        "the model has a loop over a list of tensors of no fixed size, which TensorFlow Lite's own ops cannot express."
        " Recurrent layers of Keras 3 become such a loop. Leave model.batch_size at 1, or build the layer with"
        " unroll=True, or build it with Keras 2, whose LSTM becomes one fused op",
    ),
    "ops that there are not": (
        "error: 'tf.StringLength' op is neither a custom op nor a flex op\n"
        "error: 'tf.Roll' op is neither a custom op nor a flex op\n"
        "error: 'tf.StringLength' op is neither a custom op nor a flex op",
        "TensorFlow Lite has no op for 'tf.StringLength', 'tf.Roll'. Rewrite that part of the model with other ops, or"
        " end the model before it with model.outputs, or set converter.select_tf_ops: true (the file then needs the"
        " Flex runtime), or set converter.allow_custom_ops: true and register a kernel of your own",
    ),
    "no 16-bit kernel": (
        "Quantization to 16x8-bit not yet supported for op: 'SIN'.\n",
        "there is no kernel with 16-bit activations for 'SIN'; mode int16x8 leaves such ops in float",
    ),
    "no range": (
        "Max and min for dynamic tensors should be recorded during calibration: Failed for tensor cond/add\n"
        "Empty min/max for tensor cond/add",
        "calibration never reached the tensor cond/add, so it has no range: it is in a branch that no sample takes, or"
        " it was NaN for all samples. Calibrate with samples that reach it, or use mode dynamic or float16",
    ),
    "TensorFlow ops to calibrate": (
        "Select TensorFlow op(s), included in the given model, is(are) not supported by this interpreter. Make sure you"
        " apply/link the Flex runtime before inference.",
        "calibration would have to run TensorFlow ops (select_tf_ops), but Python has no Flex runtime for them. Use"
        " mode dynamic or float16, which need no calibration",
    ),
    "custom ops to calibrate": (
        "Encountered unresolved custom op: Cumprod.\nSee instructions: https://www.tensorflow.org/lite/guide/ops_custom",
        "calibration would have to run the custom op Cumprod (allow_custom_ops), but TensorFlow Lite has no kernel for"
        " it. Use mode dynamic or float16, which need no calibration",
    ),
    "too large": (
        "Model size is bigger than 2gb",
        "the file would be larger than 2 GB, which the format does not allow. Use mode float16 or int8, whose files are"
        " smaller",
    ),
    "something else": ("A new\n   kind of trouble.", "the converter says: A new kind of trouble."),
}


@pytest.mark.parametrize("what", SAID)
def test_message_of_the_converter_is_explained(what: str) -> None:
    said, meaning = SAID[what]
    assert converter_errors.explain(said) == meaning


def test_long_message_of_an_unknown_kind_is_cut() -> None:
    said = converter_errors.explain("word " * 1000)
    assert said.startswith("the converter says: word word ")
    assert said.endswith(" …")
    assert len(said) < 600


BY_HAND = """\
import sys
import numpy as np
import tensorflow as tf

model, rows, target = sys.argv[1:]
loaded = tf.saved_model.load(model)
signature = loaded.signatures["serving_default"]
spec = tf.TensorSpec((1, 8, 8, 3), name="image")
serve = tf.function(lambda image: signature(image=image)).get_concrete_function(spec)
module = tf.Module()
module.held = loaded
tf.saved_model.save(module, target + ".model", signatures={"serving_default": serve})
chosen = np.sort(np.random.Generator(np.random.PCG64(1)).choice(24, 20, replace=False))
converter = tf.lite.TFLiteConverter.from_saved_model(target + ".model")
converter.optimizations = [tf.lite.Optimize.DEFAULT]
converter.representative_dataset = lambda: ({"image": row[np.newaxis]} for row in np.load(rows)["image"][chosen])
converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
converter.inference_input_type = converter.inference_output_type = tf.int8
open(target, "wb").write(converter.convert())
"""


def test_file_is_that_of_a_script_written_by_hand(recipes: Recipes, models: Path, data: Path, tmp_path: Path) -> None:
    """The same ops on the same tensors; a range may be another, since that script's are not always the true ones."""
    uncorrected = recipes.run("tiny_conv", ["int8_only"], converter={"bias_correction": "off"})
    from tflq.flatbuffer import load

    target = tmp_path / "by_hand.tflite"
    command = [sys.executable, "-c", BY_HAND, models / "tiny_conv", data / "images.npz", target]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    (ours,), (theirs,) = uncorrected.graph("int8_only").subgraphs, load(target).subgraphs
    assert [op.type for op in ours.operators] == [op.type for op in theirs.operators]
    assert [(t.dtype, t.shape, t.is_constant) for t in ours.tensors] == [
        (t.dtype, t.shape, t.is_constant) for t in theirs.tensors
    ]


def test_calibration_says_how_far_it_is(all_modes: Ran) -> None:
    last = {event.stage: (event.done, event.total) for event in all_modes.progress}
    assert last["read the calibration data"] == (20, 20)
    assert [last[f"observe the activations, part {part}"] for part in (1, 2)] == [(10, 10), (10, 10)]

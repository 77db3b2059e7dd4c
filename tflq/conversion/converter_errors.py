"""Explanations of the converter's error messages, each with a remedy."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from tflq.errors import ConversionError

_EXPLANATIONS: tuple[tuple[str, str], ...] = (
    (
        r"TensorListReserve|Lowering tensor list ops is failed|lower_tensor_list_ops",
        "the model has a loop over a list of tensors of no fixed size, which TensorFlow Lite's own ops cannot express."
        " Recurrent layers of Keras 3 become such a loop. Leave model.batch_size at 1, or build the layer with"
        " unroll=True, or build it with Keras 2, whose LSTM becomes one fused op",
    ),
    (
        r"(?P<ops>'tf\.\w+') op is neither a custom op nor a flex op",
        "TensorFlow Lite has no op for {ops}. Rewrite that part of the model with other ops, or end the model before"
        " it with model.outputs, or set converter.select_tf_ops: true (the file then needs the Flex runtime), or set"
        " converter.allow_custom_ops: true and register a kernel of your own",
    ),
    (
        r"Quantization to 16x8-bit not yet supported for op: (?P<ops>'\w+')",
        "there is no kernel with 16-bit activations for {ops}; mode int16x8 leaves such ops in float",
    ),
    (
        r"Unsupported (?:input|output) type INT16 for (?:input|output) tensor (?P<ops>'[^']*') of type FLOAT32",
        "the op that reads or writes {ops} stays in float, so this input or output of the file cannot be int16. Set"
        " inference_input_type or inference_output_type to float32",
    ),
    (
        r"Max and min for dynamic tensors should be recorded during calibration: Failed for tensor (?P<ops>\S+)",
        "calibration never reached the tensor {ops}, so it has no range: it is in a branch that no sample takes, or it"
        " was NaN for all samples. Calibrate with samples that reach it, or use mode dynamic or float16",
    ),
    (
        r"Select TensorFlow op\(s\), included in the given model, is\(are\) not supported by this interpreter",
        "calibration would have to run TensorFlow ops (select_tf_ops), but Python has no Flex runtime for them. Use"
        " mode dynamic or float16, which need no calibration",
    ),
    (
        r"unresolved custom op: (?P<ops>\w+)",
        "calibration would have to run the custom op {ops} (allow_custom_ops), but TensorFlow Lite has no kernel for"
        " it. Use mode dynamic or float16, which need no calibration",
    ),
    (
        r"gather index out of bounds",
        "calibration reads beyond a table of the model: an id in the samples, or one that the model computes, is too"
        " large. Correct the data, or leave such samples out",
    ),
    (
        r"Model size is bigger than 2gb|exceeds 2 ?GB",
        "the file would be larger than 2 GB, which the format does not allow. Use mode float16 or int8, whose files are"
        " smaller",
    ),
)


_WITH_TF_OPS = (
    r"(?P<ops>'tf\.\w+') op is neither a custom op nor a flex op",
    "neither TensorFlow Lite nor select_tf_ops has an op for {ops}. End the model before it with model.outputs, or"
    " rewrite that part of the model with other ops, or set converter.allow_custom_ops: true and"
    " register a kernel of your own",
)
"""The explanation for an op of no dialect if the recipe sets select_tf_ops."""
_HALF_PRECISION = (
    r"(?P<ops>'tf\.\w+') op is neither a custom op nor a flex op(?=[\s\S]*x(?:b?f16)\b)",
    "the model computes in half precision, for which TensorFlow Lite has no op of the kind {ops}. Load the model with"
    " the policy float32 and export it again",
)
_HIDDEN_OPS_REMARK = (
    r"(Failed to initialize op resolver for calibration:\s*)?There are unresolved custom ops: \[tflq\.kept[^]]*\]"
)
"""A remark of the quantizer about the ops that keep_float hides from it. It is no error."""


def explain(message: str, has_tf_ops: bool = False) -> str:
    """Return what the converter's message means, with a remedy. For an unknown message, return its beginning.

    `has_tf_ops` says whether the recipe sets select_tf_ops.
    """
    message = re.sub(_HIDDEN_OPS_REMARK, "", message)
    for pattern, explanation in (_HALF_PRECISION, *([_WITH_TF_OPS] if has_tf_ops else []), *_EXPLANATIONS):
        ops = [match.groupdict().get("ops", "") for match in re.finditer(pattern, message)]
        if ops:
            return explanation.format(ops=", ".join(dict.fromkeys(ops)))
    text = " ".join(message.split())
    return f"the converter says: {text[:500]}{' …' if len(text) > 500 else ''}"


@contextmanager
def explaining(has_tf_ops: bool = False) -> Iterator[None]:
    """Turn errors of the converter into ConversionError with the cause and a remedy."""
    import tensorflow as tf
    from tensorflow.lite.python.convert_phase import ConverterError

    try:
        yield
    except (ConverterError, ValueError, RuntimeError, tf.errors.OpError) as error:
        raise ConversionError(explain(str(error), has_tf_ops)) from error

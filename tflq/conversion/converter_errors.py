"""What the converter's messages mean."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from tflq.errors import ConversionError

_EXPLANATIONS: tuple[tuple[str, str], ...] = (
    (
        r"TensorListReserve|Lowering tensor list ops is failed|lower_tensor_list_ops",
        "the model has a loop over a list of tensors of no fixed size, as recurrent layers of Keras 3 make, which"
        " TensorFlow Lite's own ops cannot express. Leave model.batch_size at 1, or build the layer with unroll=True,"
        " or in Keras 2, whose LSTM becomes one fused op",
    ),
    (
        r"(?P<ops>'tf\.\w+') op is neither a custom op nor a flex op",
        "TensorFlow Lite has no op for {ops}. Rewrite that part of the model with other ops, or try"
        " converter.select_tf_ops: true (the file then needs the Flex runtime), or allow_custom_ops: true and bring a"
        " kernel",
    ),
    (
        r"Quantization to 16x8-bit not yet supported for op: (?P<ops>'\w+')",
        "there is no kernel with 16-bit activations for {ops}; mode int16x8 leaves such ops in float",
    ),
    (
        r"Unsupported (?:input|output) type INT16 for (?:input|output) tensor (?P<ops>'[^']*') of type FLOAT32",
        "the op that takes or makes {ops} stays in float, so that this end of the file cannot be int16; take float32"
        " for inference_input_type or inference_output_type",
    ),
    (
        r"Max and min for dynamic tensors should be recorded during calibration: Failed for tensor (?P<ops>\S+)",
        "calibration never reached the tensor {ops}, so it has no range: it is in a branch that no sample takes, or was"
        " NaN for all; calibrate with samples that reach it, or take dynamic or float16",
    ),
    (
        r"Select TensorFlow op\(s\), included in the given model, is\(are\) not supported by this interpreter",
        "calibration would have to run TensorFlow ops (select_tf_ops), and Python has no Flex runtime to do it with;"
        " take dynamic or float16, which need no calibration",
    ),
    (
        r"unresolved custom op: (?P<ops>\w+)",
        "calibration would have to run the custom op {ops} (allow_custom_ops), for which TensorFlow Lite has no kernel;"
        " take dynamic or float16, which need no calibration",
    ),
    (
        r"Model size is bigger than 2gb|exceeds 2 ?GB",
        "the file would be larger than 2 GB, which the format does not allow; float16 or int8 makes it smaller",
    ),
)


_OF_KEPT_OPS = (
    r"(Failed to initialize op resolver for calibration:\s*)?There are unresolved custom ops: \[tflq\.kept[^]]*\]"
)
"""What it remarks of the ops that keep_float hides from it, which is no error."""


def explain(said: str) -> str:
    """What the converter's message means, and what to do; its own first words where tflq does not know it."""
    said = re.sub(_OF_KEPT_OPS, "", said)
    for pattern, meaning in _EXPLANATIONS:
        found = [match.groupdict().get("ops", "") for match in re.finditer(pattern, said)]
        if found:
            return meaning.format(ops=", ".join(dict.fromkeys(found)))
    text = " ".join(said.split())
    return f"the converter says: {text[:500]}{' …' if len(text) > 500 else ''}"


@contextmanager
def explaining() -> Iterator[None]:
    """What the converter raises meanwhile, as ConversionError with the cause and a remedy."""
    import tensorflow as tf
    from tensorflow.lite.python.convert_phase import ConverterError

    try:
        yield
    except (ConverterError, ValueError, RuntimeError, tf.errors.OpError) as error:
        raise ConversionError(explain(str(error))) from error

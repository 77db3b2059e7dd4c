"""The section of a recipe that describes a variant: one of the modes, with its options."""

from __future__ import annotations

from typing import Annotated, Any, get_args

from pydantic import BeforeValidator, Discriminator, Tag

from tflq.modes.post_training import Dynamic, Float16, Float32, Int8, Int8Only, Int16x8, Int16x8Only, ModeName
from tflq.modes.qat import QatInt8, QatInt8Only
from tflq.strict import did_you_mean

MODES = (Float32, Dynamic, Float16, Int8, Int8Only, Int16x8, Int16x8Only, QatInt8, QatInt8Only)
CALIBRATED = tuple(str(kind.model_fields["mode"].default) for kind in MODES if kind.needs_ranges)
QAT_MODES = ("qat_int8", "qat_int8_only")
"""The modes whose ranges are learned by quantization-aware training."""


def _as_variant(value: Any) -> Any:
    variant = {"mode": value} if isinstance(value, str) else value
    if not isinstance(variant, dict):
        return variant
    mode, modes = variant.get("mode"), get_args(ModeName)
    if mode not in modes:
        said = "a variant needs a mode" if mode is None else f"{mode!r} is not a mode"
        raise ValueError(f"{said}{did_you_mean(str(mode), modes)}; the modes are {', '.join(modes)}")
    return variant


def _tag(value: Any) -> str:
    return f"<{value.get('mode') if isinstance(value, dict) else getattr(value, 'mode', None)}>"


Mode = Annotated[
    Annotated[Float32, Tag("<float32>")]
    | Annotated[Dynamic, Tag("<dynamic>")]
    | Annotated[Float16, Tag("<float16>")]
    | Annotated[Int8, Tag("<int8>")]
    | Annotated[Int8Only, Tag("<int8_only>")]
    | Annotated[Int16x8, Tag("<int16x8>")]
    | Annotated[Int16x8Only, Tag("<int16x8_only>")]
    | Annotated[QatInt8, Tag("<qat_int8>")]
    | Annotated[QatInt8Only, Tag("<qat_int8_only>")],
    Discriminator(
        _tag,
        custom_error_type="fault",
        custom_error_message="should be the name of a mode, or a mapping with the key mode",
    ),
    BeforeValidator(
        _as_variant,
        json_schema_input_type=(
            ModeName | Float32 | Dynamic | Float16 | Int8 | Int8Only | Int16x8 | Int16x8Only | QatInt8 | QatInt8Only
        ),
    ),
]
"""A variant: the name of a mode, or a mapping with the mode, a name, input and output types and converter options."""


def named(mode: ModeName) -> Mode:
    """Return the variant of that mode with all defaults."""
    (found,) = [kind for kind in MODES if kind.model_fields["mode"].default == mode]
    return found()

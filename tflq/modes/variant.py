"""The section of a recipe that describes a variant: one of the modes, with its options."""

from __future__ import annotations

from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Tag

from tflq.modes.int8_weights import Dynamic, Dynamic4, Weights8
from tflq.modes.int16x8 import Int16x8, Int16x8Only
from tflq.modes.post_training import BaseMode, Float16, Float32, Int8, Int8Only
from tflq.modes.qat import QatInt8, QatInt8Only
from tflq.strict import did_you_mean

MODES: tuple[type[BaseMode], ...] = (
    Float32,
    Dynamic,
    Weights8,
    Dynamic4,
    Float16,
    Int8,
    Int8Only,
    Int16x8,
    Int16x8Only,
    QatInt8,
    QatInt8Only,
)
"""All modes. Recipes, the JSON Schema, the pages and `tflq init` take the modes from this list."""
MODE_NAMES = tuple(str(kind.model_fields["mode"].default) for kind in MODES)
CALIBRATED = tuple(name for name, kind in zip(MODE_NAMES, MODES, strict=True) if kind.needs_ranges)
CORRECTABLE = tuple(
    name
    for name, kind in zip(MODE_NAMES, MODES, strict=True)
    if not kind.needs_ranges and "bias_correction" not in kind.ignored
)
"""The modes without ranges whose biases can be corrected with samples."""
WITH_ROUNDING = tuple(name for name in CORRECTABLE if "rounding" not in MODES[MODE_NAMES.index(name)].ignored)
"""The modes of these whose weights can be rounded with samples, too."""
WITH_INT16_OPS = tuple(name for name, kind in zip(MODE_NAMES, MODES, strict=True) if "keep_int16" not in kind.ignored)
"""The modes with 8-bit activations in which single ops can have 16 bits."""
QAT_MODES = tuple(name for name, kind in zip(MODE_NAMES, MODES, strict=True) if kind.model_fields["trained"].default)
"""The modes whose ranges are learned by quantization-aware training."""

if TYPE_CHECKING:
    ModeName = str
else:
    ModeName = Literal[MODE_NAMES]


def _as_variant(value: Any) -> Any:
    variant = {"mode": value} if isinstance(value, str) else value
    if not isinstance(variant, dict):
        return variant
    mode, modes = variant.get("mode"), MODE_NAMES
    if mode not in modes:
        problem = "a variant needs a mode" if mode is None else f"{mode!r} is not a mode"
        raise ValueError(f"{problem}{did_you_mean(str(mode), modes)}; the modes are {', '.join(modes)}")
    return variant


def _tag(value: Any) -> str:
    return f"<{value.get('mode') if isinstance(value, dict) else getattr(value, 'mode', None)}>"


if TYPE_CHECKING:
    Mode = BaseMode
else:
    Mode = Annotated[
        reduce(or_, [Annotated[kind, Tag(f"<{name}>")] for name, kind in zip(MODE_NAMES, MODES, strict=True)]),
        Discriminator(
            _tag,
            custom_error_type="in_plain_words",
            custom_error_message="should be the name of a mode, or a mapping with the key mode",
        ),
        BeforeValidator(_as_variant, json_schema_input_type=reduce(or_, MODES, ModeName)),
    ]
"""A variant: the name of a mode, or a mapping with the mode, a name, input and output types and converter options."""


def named(mode: ModeName) -> Mode:
    """Return the variant of that mode with all defaults."""
    return MODES[MODE_NAMES.index(mode)]()

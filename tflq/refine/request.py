"""The corrections that a variant requests before quantization, and the configurations that `auto` compares for it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from tflq.calibrate import Method, Percentile
from tflq.modes import Choice, Headroom, Mode
from tflq.refine.bias_correction import CorrectionFlags
from tflq.refine.weighted_ops import WeightGranularity

HEADROOM_OF_INT16 = 2.0
"""The factor of all ranges of int16 activations if headroom is auto; it costs one bit of sixteen."""
BIAS, RANGES, EQUALIZATION, ROUNDING = "bias correction", "ranges", "equalization", "rounding"
"""The choices, in the order in which they are made. Rounding takes longest, so it is fitted to few models."""
RANGE_LEVELS: tuple[tuple[Headroom, Method | None], ...] = (
    (1.0, None),
    ("expected", None),
    ("expected", "mse"),
    (1.0, Percentile(percentile=99.999)),
    (1.0, Percentile(percentile=99.99)),
)
"""The headroom and the method of ranges that `auto` chooses from; the method None is that of the recipe."""
_NOTHING = CorrectionFlags()


@dataclass(frozen=True)
class RefinementConfig:
    """One combination of corrections, headroom and range method."""

    corrections: CorrectionFlags = _NOTHING
    equalization: bool = False
    headroom: Headroom = 1.0
    ranges: Method | None = None
    """The method of ranges; None for that of the recipe."""

    @property
    def in_words(self) -> str:
        """The name of the combination in reports and stages."""
        is_used = {
            "bias correction": self.corrections.bias,
            "rounding": self.corrections.rounding,
            "equalization": self.equalization,
        }
        if self.headroom != 1:
            is_used["headroom" if self.headroom == "expected" else f"headroom {self.headroom:g}"] = True
        if self.ranges is not None:
            method = self.ranges if isinstance(self.ranges, str) else f"percentile {self.ranges.percentile:g}"
            is_used[f"{method} ranges"] = True
        return " + ".join(name for name, is_on in is_used.items() if is_on) or "as it is"

    @property
    def complexity(self) -> int:
        """The number of corrections; another method of ranges counts as one, and headroom as none."""
        return sum((self.corrections.bias, self.corrections.rounding, self.equalization, self.ranges is not None))

    def value(self, choice: str) -> object:
        """Return what the configuration has for that choice."""
        values = {
            BIAS: self.corrections.bias,
            RANGES: (self.headroom, self.ranges),
            EQUALIZATION: self.equalization,
            ROUNDING: self.corrections.rounding,
        }
        return values[choice]

    @property
    def options(self) -> dict[str, str | float]:
        """The keys of a variant that demands this combination and leaves no choice."""
        corrections = self.corrections
        flags = {
            "bias_correction": corrections.bias,
            "rounding": corrections.rounding,
            "equalization": self.equalization,
        }
        switches = {key: "on" if is_on else "off" for key, is_on in flags.items()}
        return switches | {"headroom": self.headroom}


@dataclass(frozen=True)
class RefinementRequest:
    """The corrections that a variant requests; variants with equal requests share their quantizer input."""

    bits: int
    """The width of activations: 8 or 16."""
    granularity: WeightGranularity
    bias: Choice
    rounding: Choice
    equalization: Choice
    headroom: Literal["auto"] | Headroom
    keep_float: tuple[str, ...]
    """The recipe's keep_float if configurations are compared, since ops in float change the comparison; else empty."""
    keep_int16: tuple[str, ...]
    """The recipe's keep_int16, likewise."""

    @staticmethod
    def by(variant: Mode) -> RefinementRequest:
        """Return the request of a variant, with each `auto` that its mode decides replaced by its value."""
        bias, rounding, equalization = variant.bias_correction, variant.rounding, variant.equalization
        is_auto = bias != "off"
        rounding = "off" if rounding == "auto" and not is_auto else rounding
        if equalization == "auto" and (not is_auto or variant.activation_bits == 16):
            equalization = "off"
        headroom = variant.headroom
        if headroom == "auto" and not (is_auto and variant.activation_bits == 8):
            headroom = HEADROOM_OF_INT16 if is_auto else 1.0
        granularity = WeightGranularity(variant.per_channel, variant.per_channel_dense)
        is_compared = "auto" in (bias, rounding, equalization, headroom)
        named = (variant.keep_float, variant.keep_int16) if is_compared else ((), ())
        return RefinementRequest(variant.activation_bits, granularity, bias, rounding, equalization, headroom, *named)

    @property
    def is_noop(self) -> bool:
        """Whether the request is for no correction and no headroom."""
        return not self.open_choices and self.required == RefinementConfig()

    @property
    def required(self) -> RefinementConfig:
        """The combination that the recipe demands."""
        headroom = 1.0 if self.headroom == "auto" else self.headroom
        return RefinementConfig(
            CorrectionFlags(self.bias == "on", self.rounding == "on"), self.equalization == "on", headroom
        )

    @property
    def open_choices(self) -> tuple[str, ...]:
        """Return the names of the choices that the recipe leaves open, in the order in which they are made."""
        is_open = {
            BIAS: self.bias == "auto",
            RANGES: self.headroom == "auto",
            EQUALIZATION: self.equalization == "auto",
            ROUNDING: self.rounding == "auto",
        }
        return tuple(choice for choice, is_auto in is_open.items() if is_auto)

    def alternatives(self, config: RefinementConfig, choice: str, ranges_are_open: bool) -> list[RefinementConfig]:
        """Return the configurations that differ from this one in that choice.

        Rounding is compared with and without corrected biases, if biases are open: it changes their error.
        """
        bias, rounding = config.corrections.bias, config.corrections.rounding
        if choice == BIAS:
            return [replace(config, corrections=CorrectionFlags(not bias, rounding))]
        if choice == ROUNDING:
            biases = (bias, not bias) if self.bias == "auto" else (bias,)
            return [replace(config, corrections=CorrectionFlags(each, not rounding)) for each in biases]
        if choice == EQUALIZATION:
            return [replace(config, equalization=not config.equalization)]
        levels = RANGE_LEVELS if ranges_are_open else RANGE_LEVELS[:2]
        others = [replace(config, headroom=headroom, ranges=ranges) for headroom, ranges in levels]
        return [other for other in others if other != config]


def is_demanded(variant: Mode) -> bool:
    """Whether the variant demands a correction or headroom, so that it is an error if there is none."""
    return "on" in (variant.bias_correction, variant.rounding, variant.equalization) or variant.headroom not in (
        "auto",
        1,
    )

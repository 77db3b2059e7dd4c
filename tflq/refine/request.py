"""The corrections that a variant requests before quantization, and the configurations that `auto` compares for it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from tflq.modes import Choice, Headroom, Mode
from tflq.refine.bias_correction import CorrectionFlags, WeightGranularity

HEADROOM_OF_INT16 = 2.0
"""The factor of all ranges of int16 activations if headroom is auto; it costs one bit of sixteen."""
_NOTHING = CorrectionFlags()


@dataclass(frozen=True)
class RefinementConfig:
    """One combination of corrections, headroom and range method."""

    corrections: CorrectionFlags = _NOTHING
    equalization: bool = False
    headroom: Headroom = 1.0
    mse: bool = False
    """Whether ranges have the least squared error, in place of the recipe's method."""

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
        is_used["mse ranges"] = self.mse
        return " + ".join(name for name, is_on in is_used.items() if is_on) or "as it is"

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
        keep_float = variant.keep_float if "auto" in (bias, rounding, equalization, headroom) else ()
        return RefinementRequest(
            variant.activation_bits, granularity, bias, rounding, equalization, headroom, keep_float
        )

    @property
    def is_noop(self) -> bool:
        """Whether the request is for no correction and no headroom."""
        return self.configs_to_compare(ranges_are_open=False) == (RefinementConfig(),)

    @property
    def required(self) -> RefinementConfig:
        """The combination that the recipe demands."""
        headroom = 1.0 if self.headroom == "auto" else self.headroom
        return RefinementConfig(
            CorrectionFlags(self.bias == "on", self.rounding == "on"), self.equalization == "on", headroom
        )

    def configs_to_compare(self, ranges_are_open: bool) -> tuple[RefinementConfig, ...]:
        """Return the demanded combination, and then combinations with one more correction each; other ranges come last.

        If the range method is open, too, other ranges are also compared without further corrections. A sample with
        outliers may spoil the corrections that are fitted to it, but it should not decide on the ranges.
        """
        configs = tuple(self._with_corrections())
        if self.headroom != "auto":
            return configs
        ends = dict.fromkeys((configs[0], configs[-1])) if ranges_are_open else configs[-1:]
        return (*configs, *(replace(end, headroom="expected", mse=ranges_are_open) for end in ends))

    def _with_corrections(self) -> Iterator[RefinementConfig]:
        yield (config := self.required)
        if self.bias == "auto":
            yield (config := replace(config, corrections=replace(config.corrections, bias=True)))
        if self.rounding == "auto":
            yield (config := replace(config, corrections=replace(config.corrections, rounding=True)))
        if self.equalization == "auto":
            yield replace(config, equalization=True)


def is_demanded(variant: Mode) -> bool:
    """Whether the variant demands a correction or headroom, so that it is an error if there is none."""
    return "on" in (variant.bias_correction, variant.rounding, variant.equalization) or variant.headroom not in (
        "auto",
        1,
    )

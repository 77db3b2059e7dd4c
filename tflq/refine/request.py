"""What a variant asks to be done before it is quantized."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from tflq.modes import Choice, Headroom, Mode
from tflq.refine.bias_correction import CorrectionFlags, WeightGranularity

HEADROOM_OF_INT16 = 2.0
"""That costs one bit of sixteen."""
_NOTHING = CorrectionFlags()


@dataclass(frozen=True)
class RefinementConfig:
    """One thing that may be done, with all that was asked for before it."""

    corrections: CorrectionFlags = _NOTHING
    equalization: bool = False
    headroom: Headroom = 1.0
    mse: bool = False
    """Ranges of the least squared error in place of the recipe's."""

    @property
    def in_words(self) -> str:
        done = {
            "bias correction": self.corrections.bias,
            "rounding": self.corrections.rounding,
            "equalization": self.equalization,
        }
        if self.headroom != 1:
            done["headroom" if self.headroom == "expected" else f"headroom {self.headroom:g}"] = True
        done["mse ranges"] = self.mse
        return " + ".join(name for name, is_done in done.items() if is_done) or "as it is"

    @property
    def options(self) -> dict[str, str | float]:
        """What a variant says that asks for this and leaves nothing open."""
        corrections = self.corrections
        said = {
            "bias_correction": corrections.bias,
            "rounding": corrections.rounding,
            "equalization": self.equalization,
        }
        switches = {key: "on" if is_done else "off" for key, is_done in said.items()}
        return switches | {"headroom": self.headroom}


@dataclass(frozen=True)
class RefinementRequest:
    """Variants that ask for the same are quantized from the same."""

    bits: int
    granularity: WeightGranularity
    bias: Choice
    rounding: Choice
    equalization: Choice
    headroom: Literal["auto"] | Headroom
    keep_float: tuple[str, ...]
    """What is in float counts where it is to be seen what helps."""

    @staticmethod
    def by(variant: Mode) -> RefinementRequest:
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
        """Whether nothing is asked for."""
        return self.configs_to_compare(ranges_are_open=False) == (RefinementConfig(),)

    @property
    def required(self) -> RefinementConfig:
        """What must be done."""
        headroom = 1.0 if self.headroom == "auto" else self.headroom
        return RefinementConfig(
            CorrectionFlags(self.bias == "on", self.rounding == "on"), self.equalization == "on", headroom
        )

    def configs_to_compare(self, ranges_are_open: bool) -> tuple[RefinementConfig, ...]:
        """What must be done, and then one thing more each time; other ranges last.

        Where the method of these is left open, too, they are tried with nothing else as well: what a poisoned sample
        does to layers that are fitted to it is no reason to have its ranges.
        """
        corrected = tuple(self._corrected())
        if self.headroom != "auto":
            return corrected
        ends = dict.fromkeys((corrected[0], corrected[-1])) if ranges_are_open else corrected[-1:]
        return (*corrected, *(replace(end, headroom="expected", mse=ranges_are_open) for end in ends))

    def _corrected(self) -> Iterator[RefinementConfig]:
        yield (config := self.required)
        if self.bias == "auto":
            yield (config := replace(config, corrections=replace(config.corrections, bias=True)))
        if self.rounding == "auto":
            yield (config := replace(config, corrections=replace(config.corrections, rounding=True)))
        if self.equalization == "auto":
            yield replace(config, equalization=True)


def is_demanded(variant: Mode) -> bool:
    """Whether something is to be done whatever comes of it."""
    return "on" in (variant.bias_correction, variant.rounding, variant.equalization) or variant.headroom not in (
        "auto",
        1,
    )

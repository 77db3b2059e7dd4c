"""The corrections that a variant requests before quantization, and the configurations that `auto` compares for it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from tflq.calibrate.schema import Method
from tflq.modes import Choice, Headroom, Mode
from tflq.refine.correction import Correction
from tflq.refine.correction_list import (
    BY_KEY,
    CORRECTIONS,
    LAYERWISE_CORRECTIONS,
    MODEL_CORRECTIONS,
    SWITCHES,
)
from tflq.refine.range_levels import HEADROOM, HEADROOM_OF_INT16, RANGE_LEVELS
from tflq.refine.weighted_ops import WeightGranularity


@dataclass(frozen=True)
class RefinementConfig:
    """One combination of corrections, headroom and range method."""

    corrections: tuple[str, ...] = ()
    """The keys of the corrections that are on, in the order of `SWITCHES`."""
    headroom: Headroom = 1.0
    ranges: Method | None = None
    """The method of ranges; None for that of the recipe."""

    @property
    def in_words(self) -> str:
        """The name of the combination in reports and stages."""
        words = [BY_KEY[key].in_words for key in self.corrections]
        if self.headroom != 1:
            words.append("headroom" if self.headroom == "expected" else f"headroom {self.headroom:g}")
        if self.ranges is not None:
            method = self.ranges if isinstance(self.ranges, str) else f"percentile {self.ranges.percentile:g}"
            words.append(f"{method} ranges")
        return " + ".join(words) or "as it is"

    @property
    def complexity(self) -> int:
        """The number of corrections; another method of ranges counts as one, and headroom as none."""
        return len(self.corrections) + (self.ranges is not None)

    @property
    def rewrites_model(self) -> bool:
        """Whether a correction of the whole model is on, so that activations must be observed anew."""
        return any(each.key in self.corrections for each in MODEL_CORRECTIONS)

    @property
    def of_layers(self) -> tuple[str, ...]:
        """The keys of those corrections that change single layers."""
        return tuple(each.key for each in LAYERWISE_CORRECTIONS if each.key in self.corrections)

    def value(self, key: str) -> object:
        """Return what the configuration has for that choice."""
        return (self.headroom, self.ranges) if key == HEADROOM.key else key in self.corrections

    def toggled(self, key: str) -> RefinementConfig:
        """Return the configuration with this correction on if it is off here, and off if it is on."""
        on = {*self.corrections} ^ {key}
        return replace(self, corrections=tuple(each for each in SWITCHES if each in on))

    @property
    def switches(self) -> dict[str, bool]:
        """Whether each correction is on, by its key."""
        return {key: key in self.corrections for key in SWITCHES}

    @property
    def options(self) -> dict[str, str | float]:
        """The keys of a variant that demands this combination and leaves no choice."""
        return {**{key: "on" if is_on else "off" for key, is_on in self.switches.items()}, HEADROOM.key: self.headroom}


@dataclass(frozen=True)
class RefinementRequest:
    """The corrections that a variant requests; variants with equal requests share their quantizer input."""

    bits: int
    """The width of activations: 8 or 16."""
    granularity: WeightGranularity
    choices: tuple[Choice, ...]
    """The choice for each correction of `SWITCHES`."""
    headroom: Literal["auto"] | Headroom
    keep_float: tuple[str, ...]
    """The recipe's keep_float if configurations are compared, since ops in float change the comparison; else empty."""
    keep_int16: tuple[str, ...]
    """The recipe's keep_int16, likewise."""

    @staticmethod
    def by(variant: Mode) -> RefinementRequest:
        """Return the request of a variant, with each `auto` that its mode decides replaced by its value."""
        is_auto = variant.bias_correction != "off"
        choices = tuple(_choice(variant, BY_KEY[key]) for key in SWITCHES)
        headroom = variant.headroom
        if headroom == "auto" and not (is_auto and variant.activation_bits == 8):
            headroom = HEADROOM_OF_INT16 if is_auto else 1.0
        takes_scales = variant.activation_bits == 16 and variant.per_channel
        granularity = WeightGranularity(variant.per_channel, variant.per_channel_dense, takes_scales)
        is_compared = "auto" in (*choices, headroom)
        named = (variant.keep_float, variant.keep_int16) if is_compared else ((), ())
        return RefinementRequest(variant.activation_bits, granularity, choices, headroom, *named)

    @property
    def is_noop(self) -> bool:
        """Whether the request is for no correction and no headroom."""
        return not self.open_choices and self.required == RefinementConfig()

    @property
    def required(self) -> RefinementConfig:
        """The combination that the recipe demands."""
        demanded = tuple(key for key, choice in zip(SWITCHES, self.choices, strict=True) if choice == "on")
        return RefinementConfig(demanded, 1.0 if self.headroom == "auto" else self.headroom)

    @property
    def open_choices(self) -> tuple[str, ...]:
        """Return the keys of the choices that the recipe leaves open, in the order in which they are made."""
        values = {**dict(zip(SWITCHES, self.choices, strict=True)), HEADROOM.key: self.headroom}
        return tuple(each.key for each in CORRECTIONS if values[each.key] == "auto")

    def alternatives(self, config: RefinementConfig, key: str, ranges_are_open: bool) -> list[RefinementConfig]:
        """Return the configurations that differ from this one in that choice.

        They are scored with both values of corrections whose effect depends on it, if these are open.
        """
        if key != HEADROOM.key:
            toggled = config.toggled(key)
            dependent = [other for other in BY_KEY[key].compared_with if other in self.open_choices]
            return [toggled, *(toggled.toggled(other) for other in dependent)]
        levels = RANGE_LEVELS if ranges_are_open else RANGE_LEVELS[:2]
        others = [replace(config, headroom=headroom, ranges=ranges) for headroom, ranges in levels]
        return [other for other in others if other != config]


def _choice(variant: Mode, correction: Correction) -> Choice:
    """Return the choice of the variant. `auto` is off without bias correction, and if it is not for these activations.

    `bias_correction: off` turns all corrections off that the variant does not demand.
    """
    choice: Choice = getattr(variant, correction.key)
    is_possible = correction.is_compared_for_int16 or variant.activation_bits == 8
    return "off" if choice == "auto" and not (is_possible and variant.bias_correction != "off") else choice


def is_demanded(variant: Mode) -> bool:
    """Whether the variant demands a correction or headroom, so that it is an error if there is none."""
    return any(getattr(variant, key) == "on" for key in SWITCHES) or variant.headroom not in ("auto", 1)

"""What a variant asks to be done before it is quantized."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tflq.modes import Choice, Mode
from tflq.refine.correct import Corrections, Grid

HEADROOM = 2.0
_NOTHING = Corrections()


@dataclass(frozen=True)
class Rung:
    """One thing that may be done, with all that was asked for before it."""

    corrections: Corrections = _NOTHING
    equalization: bool = False

    @property
    def in_words(self) -> str:
        done = {
            "bias correction": self.corrections.bias,
            "rounding": self.corrections.rounding,
            "equalization": self.equalization,
        }
        return " + ".join(name for name, is_done in done.items() if is_done) or "as it is"


@dataclass(frozen=True)
class Asked:
    """Variants that ask for the same are quantized from the same."""

    bits: int
    grid: Grid
    bias: Choice
    rounding: Choice
    equalization: Choice
    keep_float: tuple[str, ...]
    """What is in float counts where it is to be seen what helps."""

    @staticmethod
    def by(variant: Mode) -> Asked:
        bias, rounding, equalization = variant.bias_correction, variant.rounding, variant.equalization
        is_auto = bias != "off"
        rounding = "off" if rounding == "auto" and not is_auto else rounding
        if equalization == "auto" and (not is_auto or variant.activation_bits == 16):
            equalization = "off"
        grid = Grid(variant.per_channel, variant.per_channel_dense)
        keep_float = variant.keep_float if "auto" in (bias, rounding, equalization) else ()
        return Asked(variant.activation_bits, grid, bias, rounding, equalization, keep_float)

    @property
    def is_plain(self) -> bool:
        """Whether nothing is asked for."""
        return self.rungs == (Rung(),)

    @property
    def is_demanded(self) -> bool:
        """Whether something is to be done whatever comes of it."""
        return "on" in (self.bias, self.rounding, self.equalization)

    @property
    def headroom(self) -> float:
        """How much wider than observed the ranges are to be: that costs int16 one bit of sixteen."""
        return HEADROOM if self.bits == 16 and self.bias != "off" else 1.0

    @property
    def rungs(self) -> tuple[Rung, ...]:
        """What is to be tried: what must be done, and one thing more each time."""
        return tuple(self._rungs())

    def _rungs(self) -> Iterator[Rung]:
        bias, rounding, equalization = (choice == "on" for choice in (self.bias, self.rounding, self.equalization))
        yield Rung(Corrections(bias, rounding), equalization)
        if self.bias == "auto":
            bias = True
            yield Rung(Corrections(bias, rounding), equalization)
        if self.rounding == "auto":
            rounding = True
            yield Rung(Corrections(bias, rounding), equalization)
        if self.equalization == "auto":
            yield Rung(Corrections(bias, rounding), True)

"""A table of all modes, for the documentation and for `tflq advise --modes`."""

from __future__ import annotations

from dataclasses import dataclass

from tflq.modes.variant import ModeName


@dataclass(frozen=True)
class ModeGuide:
    """The files of a mode in a few words, beside the float32 file: typical, and not measured on a model."""

    mode: ModeName
    size: str
    """The size as a share of the float32 file, by the bits of a weight."""
    accuracy: str
    speed: str
    """The speed on a CPU."""
    hardware: str
    """The hardware that runs the file."""

    @property
    def cells(self) -> tuple[str, ...]:
        """The cells of the row, in the order of GUIDE_COLUMNS."""
        return self.mode, self.size, self.accuracy, self.speed, self.hardware


GUIDE_COLUMNS = ("mode", "size beside float32", "accuracy", "speed on a CPU", "runs on")
_STRICT = "microcontroller, NPU, DSP, CPU"

GUIDE: tuple[ModeGuide, ...] = (
    ModeGuide("float32", "1", "that of the source", "the base", "CPU, GPU"),
    ModeGuide("dynamic", "1/4", "a little less than weights8", "often slower than int8", "CPU"),
    ModeGuide("weights8", "1/4", "loses by rounded weights alone", "as float32", "CPU"),
    ModeGuide(
        "dynamic4",
        "1/7 of dense layers, 1/4 of others",
        "some dB less than dynamic",
        "as dynamic or faster",
        "CPU with LiteRT 1.3.0 or newer",
    ),
    ModeGuide("float16", "1/2", "nearly that of float32", "as float32; on GPUs faster", "CPU, GPU"),
    ModeGuide("int8", "1/4", "loses by weights and activations", "the fastest", "CPU; NPU in part"),
    ModeGuide("int8_only", "1/4", "as int8", "as int8", _STRICT),
    ModeGuide("int16x8", "1/4", "near float32", "many times slower", "CPU; NPU in part"),
    ModeGuide("int16x8_only", "1/4", "as int16x8", "as int16x8", "microcontroller, some NPUs, CPU"),
    ModeGuide("qat_int8", "1/4", "loses less than int8, by training", "as int8", "CPU; NPU in part"),
    ModeGuide("qat_int8_only", "1/4", "as qat_int8", "as int8", _STRICT),
)
"""A row for each mode, in the order of the modes."""

"""The section `gates` of a recipe."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, PositiveFloat, PositiveInt

from tflq.strict import Strict
from tflq.targets.name import TargetNames


class FileGates(Strict):
    """Limits of the figures of a file."""

    max_metric_drop: Annotated[float, Field(ge=0)] | None = Field(
        None, description="Largest drop of the metric from the float32 file, in the metric's unit."
    )
    min_agreement: Annotated[float, Field(ge=0, le=1)] | None = Field(
        None, description="Smallest share of samples with the same top class as the float32 file, from 0 to 1."
    )
    min_sqnr_db: float | None = Field(None, description="Smallest SQNR in dB of any output, against the float32 file.")
    max_dead_channels: Annotated[int, Field(ge=0)] | None = Field(
        0, description="Largest number of output channels that vary in the float32 file, but are constant in this file."
    )
    poor_below_db: float | None = Field(
        10.0,
        description="The verdict is poor below this SQNR in dB of the deviation from the mean. It does not change the"
        " exit code.",
    )
    broken_below_db: float | None = Field(
        0.0,
        description="The verdict is broken below this SQNR in dB of the deviation from the mean. Below 0, a file is"
        " worse than an answer that is always the mean.",
    )
    max_size_bytes: PositiveInt | None = Field(None, description="Largest size of the file in bytes.")
    max_size_ratio: PositiveFloat | None = Field(
        None, description="Largest size of the file, divided by the size of the float32 file."
    )


class Gates(FileGates):
    """Limits for every variant. If a variant exceeds one, the exit code is 1."""

    max_ram_kb: PositiveFloat | None = Field(
        None,
        description="Largest memory of activations and variables, in kB of 1,000 bytes. It is that of the targets whose"
        " memory is planned or told by a compiler, or of `micro`.",
    )
    max_flash_kb: PositiveFloat | None = Field(
        None, description="Largest size of the file, or of the compiled file, in kB of 1,000 bytes."
    )
    max_estimated_ms: PositiveFloat | None = Field(
        None,
        description="Largest estimated time of a call in milliseconds, on the targets that have a model of time. These"
        " are the Ethos-U with a size, with `tflq[ethos-u]`.",
    )
    runs_whole_on: TargetNames = Field((), description="Targets on which every op must run.")

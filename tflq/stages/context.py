"""The values that every stage of a run uses: the recipe, the folder, the worker processes and the cache."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from tflq import flatbuffer
from tflq.calibrate.schema import Calibration
from tflq.contract import quantized_activations
from tflq.recipe import Recipe
from tflq.stages.recipe_cache import FLOAT32, RecipeCache
from tflq.stages.refinement_work import RefinementWork
from tflq.stages.variant_build import VariantBuild, file_name
from tflq.worker import Workers


@dataclass(frozen=True)
class RunContext:
    """The recipe of a run, and the means to run it."""

    recipe: Recipe
    folder: Path
    """The temporary folder of all files until they are installed."""
    workers: Workers
    jobs: int
    """The number of worker processes at a time."""
    cache: RecipeCache
    work: RefinementWork = field(default_factory=RefinementWork)
    """The intermediate models of the refinement."""
    started: float = field(default_factory=time.monotonic)
    """When the run started, by the monotonic clock in seconds."""

    @property
    def source_folder(self) -> Path:
        """The folder of the prepared source and of its float32 file."""
        return self.folder / "source"

    @property
    def float32(self) -> Path:
        """The path of the float32 file, which may not exist yet."""
        return self.source_folder / FLOAT32

    @property
    def calibration(self) -> Calibration:
        """The recipe's section, which must exist."""
        assert self.recipe.calibration is not None
        return self.recipe.calibration

    @cached_property
    def has_own_ranges(self) -> bool:
        """Whether the source has fake-quantize ops, as quantization-aware training leaves them."""
        return any(True for _ in quantized_activations(flatbuffer.mapped(self.float32)))

    def path(self, build: VariantBuild) -> Path:
        """The path of the variant's file before it is installed."""
        return self.folder / file_name(self.recipe, build.name)

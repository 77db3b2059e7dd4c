"""Conversion of trained models as a stage; a pruned or clustered model is calibrated separately."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tflq import conversion
from tflq.contract import NamedOps
from tflq.errors import ConversionError, TflqError
from tflq.modes import QAT_MODES
from tflq.sources.prepared import PreparedSource
from tflq.stages.context import RunContext
from tflq.stages.convert import build_variants
from tflq.stages.recipe_cache import RecipeCache
from tflq.stages.state import ConvertibleSource
from tflq.stages.train import TrainedModels
from tflq.stages.variant_build import VariantBuild, run_for_each
from tflq.worker import Done, Failed, Task


def add_trained(
    context: RunContext,
    builds: Sequence[VariantBuild],
    source: ConvertibleSource,
    trained: Done[TrainedModels] | Failed | None,
) -> list[VariantBuild]:
    """Return the builds and those of the trained variants, in the recipe's order; each has its file or its error."""
    waiting = [VariantBuild(variant, variant.name) for variant in context.recipe.variants if variant.trained]
    if trained is None or not waiting:
        return list(builds)
    names = [variant.name for variant in context.recipe.variants]
    converted = _converted(context, waiting, source, trained)
    return sorted([*builds, *converted], key=lambda build: names.index(build.name))


def _converted(
    context: RunContext,
    builds: Sequence[VariantBuild],
    source: ConvertibleSource,
    trained: Done[TrainedModels] | Failed,
) -> list[VariantBuild]:
    if isinstance(trained, Failed):
        return [replace(build, error=trained.error) for build in builds]
    with_learned_ranges = [build for build in builds if build.variant and build.variant.mode in QAT_MODES]
    others = [build for build in builds if build not in with_learned_ranges]
    models = trained.value
    return [
        *_quantized(context, with_learned_ranges, models),
        *_floating(context, source, others, models.floating),
    ]


def _quantized(context: RunContext, builds: Sequence[VariantBuild], models: TrainedModels) -> list[VariantBuild]:
    """Convert the model of quantization-aware training, which has learned ranges and needs no samples."""
    model = models.quantized
    if models.trained.error is not None:
        return [replace(build, error=models.trained.error) for build in builds]

    def task(build: VariantBuild) -> Task[NamedOps]:
        return Task(
            f"convert {build.name}", conversion.convert, (model, build.variant, context.path(build)), ConversionError
        )

    converted = run_for_each(context.workers, builds, task, context.jobs)
    return [replace(build, path=None if build.error else context.path(build)) for build, _ in converted]


def _floating(
    context: RunContext, source: ConvertibleSource, builds: Sequence[VariantBuild], model: PreparedSource | None
) -> list[VariantBuild]:
    """Convert the pruned or clustered model, which is calibrated like any other float model."""
    if not builds or model is None:
        return []
    variants = tuple(build.variant.model_copy(update={"trained": False}) for build in builds if build.variant)
    recipe = context.recipe.model_copy(update={"variants": variants})
    own = RunContext(recipe, context.folder / "floating", context.workers, context.jobs, RecipeCache(recipe))
    own.source_folder.mkdir(parents=True)
    try:
        converted = build_variants(own, ConvertibleSource(model, source.missing_api))
    except TflqError as error:
        return [replace(build, error=error) for build in builds]
    return [replace(new, variant=old.variant) for new, old in zip(converted, builds, strict=True)]

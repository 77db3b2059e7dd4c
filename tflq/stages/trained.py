"""Files of what training made of the source, each model calibrated on its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tflq import convert
from tflq.errors import ConversionError, TflqError
from tflq.modes import LEARNED
from tflq.sources import Prepared
from tflq.stages.build import Maker, make
from tflq.stages.recipe_cache import RecipeCache
from tflq.stages.state import ConvertibleSource
from tflq.stages.variant_build import VariantBuild, run_for_each
from tflq.trainer import Pupil
from tflq.worker import Done, Failed, Task


def with_trained(
    builds: Sequence[VariantBuild], maker: Maker, source: ConvertibleSource, outcome: Done[Pupil] | Failed | None
) -> list[VariantBuild]:
    """The builds, and in the recipe's order a file for every trained variant that can be made."""
    waiting = [VariantBuild(variant, variant.name) for variant in maker.recipe.variants if variant.trained]
    if outcome is None or not waiting:
        return list(builds)
    if isinstance(outcome, Failed):
        made = [replace(build, error=outcome.error) for build in waiting]
    else:
        learned = [build for build in waiting if build.variant and build.variant.mode in LEARNED]
        others = [build for build in waiting if build not in learned]
        pupil = outcome.value
        made = [*_learned(maker, learned, pupil.quantized), *_others(maker, source, others, pupil.floating)]
    names = [variant.name for variant in maker.recipe.variants]
    return sorted([*builds, *made], key=lambda build: names.index(build.name))


def _learned(maker: Maker, builds: Sequence[VariantBuild], quantized: Prepared | None) -> list[VariantBuild]:
    """Those whose ranges were learned, so that no samples are needed."""

    def task(build: VariantBuild) -> Task[None]:
        arguments = (quantized, build.variant, maker.path(build))
        return Task(f"convert {build.name}", convert.convert, arguments, ConversionError)

    made = run_for_each(maker.workers, builds, task, maker.jobs)
    return [replace(build, path=None if build.error else maker.path(build)) for build, _ in made]


def _others(
    maker: Maker, source: ConvertibleSource, builds: Sequence[VariantBuild], floating: Prepared | None
) -> list[VariantBuild]:
    """Those of the model as pruning or clustering left it, with ranges of its own."""
    if not builds or floating is None:
        return []
    variants = tuple(build.variant.model_copy(update={"trained": False}) for build in builds if build.variant)
    folder = maker.folder / "floating"
    (folder / "source").mkdir(parents=True)
    recipe = maker.recipe.model_copy(update={"variants": variants})
    own = Maker(recipe, folder, maker.workers, maker.jobs, RecipeCache(recipe))
    try:
        made = make(own, ConvertibleSource(floating, source.missing_api))
    except TflqError as error:
        return [replace(build, error=error) for build in builds]
    return [replace(new, variant=old.variant) for new, old in zip(made, builds, strict=True)]

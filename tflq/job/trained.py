"""Files of what training made of the source, each model calibrated on its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tflq import conversion
from tflq.errors import ConversionError, TflqError
from tflq.job.draft import Draft, each
from tflq.job.known import Source
from tflq.job.make import Maker, make
from tflq.job.shelf import Shelf
from tflq.modes import LEARNED
from tflq.sources import Prepared
from tflq.trainer import Pupil
from tflq.worker import Done, Failed, Task


def with_trained(
    drafts: Sequence[Draft], maker: Maker, source: Source, outcome: Done[Pupil] | Failed | None
) -> list[Draft]:
    """The drafts, and in the recipe's order a file for every trained variant that can be made."""
    waiting = [Draft(variant, variant.name) for variant in maker.recipe.variants if variant.trained]
    if outcome is None or not waiting:
        return list(drafts)
    if isinstance(outcome, Failed):
        made = [replace(draft, error=outcome.error) for draft in waiting]
    else:
        learned = [draft for draft in waiting if draft.variant and draft.variant.mode in LEARNED]
        others = [draft for draft in waiting if draft not in learned]
        pupil = outcome.value
        made = [*_learned(maker, learned, pupil.quantized), *_others(maker, source, others, pupil.floating)]
    names = [variant.name for variant in maker.recipe.variants]
    return sorted([*drafts, *made], key=lambda draft: names.index(draft.name))


def _learned(maker: Maker, drafts: Sequence[Draft], quantized: Prepared | None) -> list[Draft]:
    """Those whose ranges were learned, so that no samples are needed."""

    def task(draft: Draft) -> Task[None]:
        arguments = (quantized, draft.variant, maker.path(draft))
        return Task(f"convert {draft.name}", conversion.convert, arguments, ConversionError)

    made = each(maker.workers, drafts, task, maker.jobs)
    return [replace(draft, path=None if draft.error else maker.path(draft)) for draft, _ in made]


def _others(maker: Maker, source: Source, drafts: Sequence[Draft], floating: Prepared | None) -> list[Draft]:
    """Those of the model as pruning or clustering left it, with ranges of its own."""
    if not drafts or floating is None:
        return []
    variants = tuple(draft.variant.model_copy(update={"trained": False}) for draft in drafts if draft.variant)
    folder = maker.folder / "floating"
    (folder / "source").mkdir(parents=True)
    recipe = maker.recipe.model_copy(update={"variants": variants})
    own = Maker(recipe, folder, maker.workers, maker.jobs, Shelf(recipe))
    try:
        made = make(own, Source(floating, source.lacking))
    except TflqError as error:
        return [replace(draft, error=error) for draft in drafts]
    return [replace(new, variant=old.variant) for new, old in zip(made, drafts, strict=True)]

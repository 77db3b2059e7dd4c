"""The places of keys in the errors of a batch: each error starts with the file and the line of the key it is about."""

from __future__ import annotations

from dataclasses import replace

from tflq.batch.summary import Model, VariantRow
from tflq.batch.zoo import Item
from tflq.errors import SourceError, TflqError
from tflq.recipe import Recipe, place_in
from tflq.strict import YamlSource


def with_places(model: Model, item: Item) -> Model:
    """Return the model, in which its errors and those of its variants start with `file:line` where that is known.

    The error of a recipe has the place already.
    """
    if item.source is None or not isinstance(item.recipe, Recipe) or not model.exit_code:
        return model
    rows = tuple(_placed(row, item.source) for row in model.rows)
    if not model.rows:
        return replace(model, why=_text(model.why, model.exit_code, item.source))
    reasons = {
        f"{row.name}: {row.why}": f"{row.name}: {placed.why}" for row, placed in zip(model.rows, rows, strict=True)
    }
    return replace(model, why=reasons.get(model.why, model.why), rows=rows)


def _placed(row: VariantRow, source: YamlSource) -> VariantRow:
    return replace(row, why=_text(row.why, row.exit_code, source, row.name)) if row.status == "error" else row


def _text(why: str, exit_code: int, source: YamlSource, variant: str = "") -> str:
    # a report has no types of errors, but their exit codes
    error = (SourceError if exit_code == SourceError.exit_code else TflqError)(why)
    place = place_in(error, source, variant)
    return "\n".join(f"{place}: {line}" for line in why.splitlines()) if place else why

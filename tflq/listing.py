"""The float32 file of a recipe's source, read back: what its variants can be told to keep in float."""

from __future__ import annotations

import tempfile
from pathlib import Path

from tflq import flatbuffer
from tflq.flatbuffer import Graph
from tflq.pipeline import LOG, Settings
from tflq.recipe import Recipe, check_source
from tflq.stages import FLOAT32, Maker, RecipeCache
from tflq.worker import Workers, preload_tensorflow


def float_graph(recipe: Recipe, settings: Settings) -> Graph:
    """Made in a worker, or taken from what was kept; leaves nothing behind but that.

    Raises SourceError or ConversionError.
    """
    check_source(recipe)
    recipe_cache = RecipeCache(recipe, settings.store if recipe.keeps else None)
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work)
        if recipe_cache.load_float_model(folder / "kept"):
            return flatbuffer.load(folder / "kept" / FLOAT32)
        preload_tensorflow()
        with Workers(folder / LOG, settings.timeout, settings.listen, settings.budget) as workers:
            maker = Maker(recipe, folder, workers, settings.jobs, recipe_cache)
            return flatbuffer.load(maker.float_model(maker.prepare()))

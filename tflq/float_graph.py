"""The float32 model of a recipe's source as a graph: the ops that its variants can keep in float."""

from __future__ import annotations

from pathlib import Path

from tflq import flatbuffer, stages
from tflq.flatbuffer import Graph
from tflq.leftovers import run_folder
from tflq.pipeline import LOG, Settings
from tflq.recipe import Recipe, check_source
from tflq.stages import FLOAT32, RecipeCache, RunContext
from tflq.worker import Workers, preload_tensorflow


def float_graph(recipe: Recipe, settings: Settings) -> Graph:
    """Return the graph of the float32 file, from the cache or from a conversion in a worker process.

    Raises SourceError or ConversionError.
    """
    check_source(recipe)
    with run_folder() as work, RecipeCache(recipe, settings.store if recipe.keeps else None) as recipe_cache:
        folder = Path(work)
        if recipe_cache.load_float_model(folder / "cached"):
            return flatbuffer.load(folder / "cached" / FLOAT32)
        preload_tensorflow()
        with Workers(folder / LOG, settings.timeout, settings.listen, settings.budget) as workers:
            context = RunContext(recipe, folder, workers, settings.jobs, recipe_cache)
            return flatbuffer.load(stages.make_float32(context, stages.prepare_source(context)))

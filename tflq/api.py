"""The function of the Python API: it converts, checks and measures the variants of one recipe."""

from __future__ import annotations

from pathlib import Path

from tflq.cache import default_store
from tflq.pipeline import Settings, run
from tflq.recipe import Recipe, load
from tflq.result import Result
from tflq.worker import Event, Listener, processors


def convert(
    recipe: Recipe | Path | str,
    *,
    jobs: int | None = None,
    timeout: float | None = None,
    cache: bool = True,
    listen: Listener | None = None,
) -> Result:
    """Convert, check and measure the variants of a recipe, and write the files into the output folder of the recipe.

    The call does what `tflq convert` does, and prints nothing. TensorFlow runs in worker processes, so the script that
    calls it needs `if __name__ == "__main__":`.

    `recipe` is the path of a recipe, or a recipe that `tflq.load` returned. `jobs` is the number of worker processes
    at a time, at least 1; by default it is the number of processors. `timeout` is the number of seconds that one stage
    may take; by default there is no limit. `cache` says whether the run reads and fills the cache that `tflq cache`
    shows. `listen` is called in this thread with each event: a stage started, made progress or finished, or a worker
    wrote text.

    The result has one variant for each variant of the recipe. An error of one variant is in that variant, and
    `exit_code` is that of the most serious variant, 0 when all is well. The function raises ValueError for a value of
    `jobs` or `timeout` that is out of range. It raises RecipeError, SourceError, DatasetError, ConversionError or
    EvaluationError when no variant can be made or measured at all.
    """
    if jobs is not None and jobs < 1:
        raise ValueError(f"jobs is {jobs}; it should be 1 or more")
    if timeout is not None and timeout <= 0:
        raise ValueError(f"timeout is {timeout}; it should be a number of seconds above 0")
    loaded = recipe if isinstance(recipe, Recipe) else load(recipe)
    settings = Settings(
        timeout=timeout,
        jobs=jobs or processors(),
        listen=listen or _ignore,
        store=default_store() if cache else None,
    )
    return run(loaded, settings)


def _ignore(_: Event) -> None:
    """Ignore the event."""

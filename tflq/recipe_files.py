"""The files that a recipe reads: the model, the data, and the code of its functions."""

from __future__ import annotations

from importlib.machinery import PathFinder
from pathlib import Path

from tflq.datasets import Dataset, Python
from tflq.errors import DatasetError
from tflq.metrics.custom import Custom
from tflq.metrics.word_errors import WordErrors
from tflq.recipe import Recipe
from tflq.sources.saved_model import GRAPH_FILES
from tflq.targets.shipped import SUFFIXES


def source_files(recipe: Recipe) -> list[Path]:
    """Return the files of the model: none of a folder that is no SavedModel, which may hold anything."""
    path = recipe.model.path
    if path.is_file():
        return [path]
    if not any((path / name).is_file() for name in GRAPH_FILES):
        return []
    return [file for file in path.rglob("*") if file.is_file()]


def data_files(recipe: Recipe) -> list[Path]:
    """Return the files of the datasets, of the code and of the targets that the recipe names.

    Raise DatasetError if the files of a dataset are unknown.
    """
    own = [Path(name) for name in (*recipe.targets, *recipe.gates.runs_whole_on) if name.endswith(SUFFIXES)]
    options = [target.vela_options for target in recipe.checked_targets]
    own += [each.config for each in options if each is not None and each.config is not None]
    return [*own, *(path for section in data_sections(recipe).values() for path in files_of(section))]


def data_sections(recipe: Recipe) -> dict[str, Dataset | Custom | WordErrors]:
    """Return each dataset that the recipe reads, by the name of its section, and a metric that has files."""
    training, evaluation = recipe.training, recipe.evaluation
    sections = {
        "calibration": recipe.calibration,
        "evaluation": evaluation,
        "training": training,
        "training.validation": training and training.validation,
    }
    datasets = {name: section.dataset for name, section in sections.items() if section}
    metric = evaluation.metric if evaluation else None
    return datasets | ({"evaluation.metric": metric} if isinstance(metric, (Custom, WordErrors)) else {})


def code_sections(recipe: Recipe) -> list[str]:
    """Return the names of the sections that run Python functions."""
    return [name for name, data in data_sections(recipe).items() if isinstance(data, (Python, Custom))]


def files_of(data: Dataset | Custom | WordErrors) -> list[Path]:
    """Return the files of a dataset or a metric, or of the code that makes its rows or is a metric.

    Raise DatasetError if the files are unknown.
    """
    if isinstance(data, (Python, Custom)):
        return code_files(data)
    if isinstance(data, WordErrors):
        return [data.vocabulary]
    files = data.files()
    if files is None:
        raise DatasetError(f"{data} is not prepared on this machine yet")
    return list(files)


def code_files(reference: Python | Custom) -> list[Path]:
    """Return the module of the function, or all files of its package. The files that the code reads are unknown.

    Raise DatasetError if Python does not find the module.
    """
    top = reference.python.partition(":")[0].split(".")[0]
    spec = PathFinder.find_spec(top, [str(reference.folder.absolute())]) or PathFinder.find_spec(top)
    if spec is None:
        raise DatasetError(f"{reference}: Python finds no module {top!r}")
    folders = [Path(folder) for folder in spec.submodule_search_locations or ()]
    return [file for folder in folders for file in folder.rglob("*.py")] or [Path(str(spec.origin))]

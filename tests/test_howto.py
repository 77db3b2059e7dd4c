"""The examples of the how-to pages: recipes that load, and code that runs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from running import run_recipe

from tflq.recipe import load

PAGES = sorted((Path(__file__).parent.parent / "docs/howto").glob("*.md"))
WHOLE = {
    "model": "model",
    "calibration": {"dataset": {"npz": "train.npz"}},
    "evaluation": {"dataset": {"npz": "test.npz"}, "label": "label", "metric": "top1"},
    "variants": ["int8"],
}
"""What a page leaves out of a recipe."""
OTHER = {"kind", "repos"}
"""Keys of YAML files that are no recipes: zoos and the configuration of pre-commit."""


def examples() -> list[Any]:
    blocks = [
        (page, text) for page in PAGES for text in re.findall(r"^```yaml\n(.*?)^```", page.read_text(), re.M | re.S)
    ]
    parts = [(page, yaml.safe_load(text)) for page, text in blocks]
    return [
        pytest.param(part, id=page.stem) for page, part in parts if isinstance(part, dict) and OTHER.isdisjoint(part)
    ]


@pytest.mark.parametrize("part", examples())
def test_a_part_of_a_recipe_is_valid(part: dict[str, Any], tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(WHOLE | part, sort_keys=False))
    assert load(recipe).variants


def write_files(page: str, folder: Path) -> None:
    """Write the files that the page shows into the folder."""
    text = next(path for path in PAGES if path.stem == page).read_text()
    for name, content in re.findall(r"<!-- file: (\S+) -->\n```\w+\n(.*?)```", text, re.DOTALL):
        (folder / name).write_text(content)


def test_a_dataset_and_a_metric_in_python_are_used(models: Path, tmp_path: Path) -> None:
    write_files("own-dataset-or-metric", tmp_path)
    (tmp_path / "model").symlink_to(models / "tiny_conv")
    ran = run_recipe(tmp_path / "recipe.yaml")
    assert ran.codes == {"float32": 0, "int8": 0}
    assert ran.result.metric == "mymetric:distance"
    assert ran.result.calibration is not None
    assert (ran.result.calibration.samples, ran.result.evaluation.samples) == (20, 20)


def test_boxes_scores_and_classes_give_the_mean_average_precision(models: Path, tmp_path: Path) -> None:
    write_files("detection", tmp_path)
    (tmp_path / "model").symlink_to(models / "finds_rectangles")
    ran = run_recipe(tmp_path / "recipe.yaml")
    assert ran.codes == {"float32": 0, "int8": 0}
    score = ran.variant("int8").measured.metric
    assert (ran.result.metric, score.name, score.samples) == ("map50", "map50", 40)
    assert ran.result.baseline.source_metric == ran.result.baseline.float32_metric == 1.0
    assert 0.9 < score.value <= 1.0
    assert score.ci95[0] <= score.drop <= score.ci95[1]
    assert not any("box_format" in warning for warning in ran.result.warnings)

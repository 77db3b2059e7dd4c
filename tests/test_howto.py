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


def test_a_dataset_and_a_metric_in_python_are_used(models: Path, tmp_path: Path) -> None:
    page = next(page for page in PAGES if page.stem == "own-dataset-or-metric").read_text()
    for name, text in re.findall(r"<!-- file: (\S+) -->\n```\w+\n(.*?)```", page, re.DOTALL):
        (tmp_path / name).write_text(text)
    (tmp_path / "model").symlink_to(models / "tiny_conv")
    ran = run_recipe(tmp_path / "recipe.yaml")
    assert ran.codes == {"float32": 0, "int8": 0}
    assert ran.result.metric == "mymetric:distance"
    assert ran.result.calibration is not None
    assert (ran.result.calibration.samples, ran.result.evaluation.samples) == (20, 20)

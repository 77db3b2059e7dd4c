from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tflq import overlay
from tflq.errors import RecipeError
from tflq.recipe import load
from tflq.strict import PlacedText, parse


def laid(base: str, over: str) -> Any:
    return overlay.lay(parse(base, "base.yaml"), parse(over, "over.yaml")).data


@pytest.mark.parametrize(
    ("base", "over", "both"),
    [
        ("{a: 1}", "{b: 2}", {"a": 1, "b": 2}),
        ("{a: {x: 1, y: 2}}", "{a: {y: 3}}", {"a": {"x": 1, "y": 3}}),
        ("{a: [1, 2]}", "{a: [3]}", {"a": [3]}),
        ("{a: {x: 1}}", "{a: off}", {"a": "off"}),
        ("{a: {x: 1}, b: 2}", "{a: null}", {"b": 2}),
        ("{b: 2}", "{a: null}", {"a": None, "b": 2}),
        ("{mode: int8}", "{variants: [float16]}", {"variants": ["float16"]}),
        ("{variants: [float16]}", "{mode: int8}", {"mode": "int8"}),
        ("{dataset: {npz: a, x: 1}}", "{dataset: {tfds: b}}", {"dataset": {"tfds": "b"}}),
        ("{dataset: {tfds: a, split: train}}", "{dataset: {split: test}}", {"dataset": {"tfds": "a", "split": "test"}}),
        ("{dataset: {npz: a, x: 1}}", "{dataset: {npz: b}}", {"dataset": {"npz": "b", "x": 1}}),
        ("{model: {batch_size: 2}}", "{model: net}", {"model": {"batch_size": 2, "saved_model": "net"}}),
        ("{model: {saved_model: a, tags: [x]}}", "{model: net.keras}", {"model": {"keras": "net.keras"}}),
    ],
)
def test_laying_one_over_another(base: str, over: str, both: dict[str, Any]) -> None:
    assert laid(base, over) == both


def test_each_part_knows_the_file_that_says_it() -> None:
    both = overlay.lay(parse("a:\n  x: 1\n  y: 2\n", "base.yaml"), parse("a:\n\n  y: 3\n", "over.yaml"))
    assert both.error(("a", "x"), "wrong") == "base.yaml:2: a.x: wrong"
    assert both.error(("a", "y"), "wrong") == "over.yaml:3: a.y: wrong"


def test_what_is_taken_away_has_no_place_any_more() -> None:
    both = overlay.lay(parse("a: {x: 1}\n", "base.yaml"), parse("a: off\n", "over.yaml"))
    assert ("a", "x") not in both.places


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_the_parts_of_a_list_are_those_of_its_entries() -> None:
    source = parse("models:\n- net\n- model: other\n  name: second\n- recipe: third.yaml\nkind: zoo\n", "zoo.yaml")
    assert overlay.parts(source, "models") == [overlay.part(source, ("models", place)) for place in range(3)]


def test_what_is_parsed_twice_is_not_shared() -> None:
    first = parse("model: net\nvariants: [int8]\n", "net.yaml")
    first.data["variants"].append("float16")
    first.places.clear()
    assert parse("model: net\nvariants: [int8]\n", "net.yaml").data["variants"] == ["int8"]
    assert parse("model: net\nvariants: [int8]\n", "net.yaml").places[("model",)] == "net.yaml:1"


def test_paths_are_taken_from_the_file_that_says_them(tmp_path: Path) -> None:
    base = "calibration: {dataset: {python: 'rows:rows'}}\nevaluation: {dataset: {npz: data.npz}}\nmode: int8\n"
    write(tmp_path / "shared/base.yaml", base)
    recipe = load(write(tmp_path / "own/net.yaml", "extends: ../shared/base.yaml\nmodel: net\n"))
    assert recipe.model.path == tmp_path / "own/net"
    assert recipe.calibration.dataset.folder == tmp_path / "shared"
    assert recipe.evaluation.dataset.npz == tmp_path / "shared/data.npz"
    assert recipe.output == tmp_path / "own/build/net"
    assert recipe.extends is None


def test_a_function_that_replaces_one_is_found_beside_its_own_file(tmp_path: Path) -> None:
    write(tmp_path / "shared/base.yaml", "calibration: {dataset: {python: 'rows:rows'}}\nmode: int8\n")
    over = "extends: ../shared/base.yaml\nmodel: net\ncalibration: {dataset: {python: 'rows:others'}}\n"
    assert load(write(tmp_path / "own/net.yaml", over)).calibration.dataset.folder == tmp_path / "own"


def test_all_files_are_known(tmp_path: Path) -> None:
    write(tmp_path / "root.yaml", "mode: float16\n")
    write(tmp_path / "base.yaml", "extends: root.yaml\n")
    path = write(tmp_path / "net.yaml", "extends: base.yaml\nmodel: net\n")
    assert overlay.read(path).files == (path, tmp_path / "base.yaml", tmp_path / "root.yaml")


def test_what_extends_itself_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "net.yaml", "extends: net.yaml\n")
    with pytest.raises(
        RecipeError, match=r"net\.yaml:1: extends: .*net\.yaml also extends this file: remove one of the two extends$"
    ):
        overlay.read(path)


def test_a_part_is_a_source_of_its_own() -> None:
    source = parse("models:\n- a\n- model: b\n  name: c\n", "zoo.yaml")
    part = overlay.part(source, ("models", 1))
    assert part.data == {"model": "b", "name": "c"}
    assert part.error(("name",), "wrong") == "zoo.yaml:4: name: wrong"
    assert overlay.part(source, ("defaults",)).data == {}


def test_texts_are_marked_once() -> None:
    source = overlay.placed(parse("a: [x, 1]\n", "zoo.yaml"), Path("first"))
    again = overlay.placed(source, Path("second"))
    (text, number) = again.data["a"]
    assert isinstance(text, PlacedText)
    assert (text, text.folder, number) == ("x", Path("first"), 1)

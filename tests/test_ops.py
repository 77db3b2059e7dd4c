"""`tflq ops`: what keep_float and keep_int16 can name, from the float32 file that convert would make too."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tflite_edit as edit
from click.testing import CliRunner, Result
from running import Recipes

from tflq.cli import main
from tflq.flatbuffer import read
from tflq.report.ops import to_json, to_text


def tflq(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments], prog_name="tflq")


@pytest.mark.parametrize("name", edit.NAMES)
def test_table_and_json_tell_the_same_of_every_op(name: str) -> None:
    graph = read(edit.raw(name))
    rows, (header, *lines) = json.loads(to_json(graph)), to_text(graph).splitlines()
    operators = graph.subgraphs[0].operators
    assert header.split() == ["#", "type", "shape", "bytes", "layer", "tensor"]
    assert [line.split()[:2] for line in lines] == [[f"#{op.index}", op.type] for op in operators]
    assert [(row["index"], row["type"]) for row in rows] == [(op.index, op.type) for op in operators]
    assert all(line == line.rstrip() for line in lines)


def test_scope_that_is_around_all_is_left_out_of_the_table() -> None:
    model = edit.load(edit.NAMES[0])
    for number, op in enumerate(model.subgraphs[0].operators):
        model.subgraphs[0].tensors[op.outputs[0]].name = f"net_1/block_{number}/Op;net_1/bn_{number}/Op".encode()
    graph = read(edit.packed(model))
    assert json.loads(to_json(graph))[0]["scopes"] == ["net_1/block_0", "net_1/bn_0"]
    assert "  block_0, bn_0  " in to_text(graph)


def test_command_lists_without_data_and_leaves_nothing(recipes: Recipes, tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(
        f"model: {recipes.models / 'tiny_conv_residual'}\nmode: int8\ncalibration: {{dataset: {{npz: nowhere.npz}}}}\n"
    )
    said = tflq("ops", tmp_path / "recipe.yaml")
    assert said.exit_code == 0, said.output
    lines = said.stdout.splitlines()
    assert lines[1] == " #0  CONV_2D          1×8×8×16  1,792  -      Relu;Conv2D"
    assert lines[-1] == "#19  SOFTMAX          1×4              -      StatefulPartitionedCall:0, scores"
    assert [path.name for path in tmp_path.iterdir()] == ["recipe.yaml"]
    again = tflq("ops", tmp_path / "recipe.yaml", "--json")
    assert again.stderr == ""
    assert [row["type"] for row in json.loads(again.stdout)] == [line.split()[1] for line in lines[1:]]


def test_command_finds_what_was_kept_without_tensorflow(recipes: Recipes, tmp_path: Path) -> None:
    path = recipes.write("tiny_conv_residual", ["int8"])
    assert tflq("ops", path).exit_code == 0
    said = tflq("ops", path)
    assert said.exit_code == 0
    assert said.stderr == ""


@pytest.mark.parametrize(("model", "code"), [("nowhere", 3), ("unknown_op", 5)])
def test_command_says_why_there_is_nothing_to_list(model: str, code: int, recipes: Recipes) -> None:
    said = tflq("ops", recipes.write(model, ["int8"]))
    assert (said.exit_code, said.stdout) == (code, "")
    assert "error: " in said.stderr

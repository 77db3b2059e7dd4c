from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import yaml
from pydantic import Field, PositiveInt

from tflq import strict
from tflq.errors import RecipeError
from tflq.strict import AsTuple, FileName, FunctionName, RecipePath, Strict, or_words


def data(text: str) -> Any:
    return strict.parse(text, "recipe.yaml").data


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("on", "on"),
        ("off", "off"),
        ("yes", "yes"),
        ("n", "n"),
        ("true", True),
        ("FALSE", False),
        ("tRUE", "tRUE"),
        ("null", None),
        ("~", None),
        ("nil", "nil"),
        ("12:30", "12:30"),
        ("2024-12-30", "2024-12-30"),
        ("0", 0),
        ("-7", -7),
        ("+7", 7),
        ("007", 7),
        ("0x1F", 31),
        ("0o17", 15),
        ("4_000_000", 4_000_000),
        ("4__0", "4__0"),
        ("4_", "4_"),
        ("_4", "_4"),
        ("1e-4", 1e-4),
        ("1E3", 1000.0),
        ("1.", 1.0),
        (".5", 0.5),
        ("-1.5e+3", -1500.0),
        ("1_000.5", 1000.5),
        (".inf", math.inf),
        ("-.INF", -math.inf),
        ("1.2.3", "1.2.3"),
        ("1/255", "1/255"),
        ("'5'", "5"),
        ('"null"', "null"),
        ("!!str 5", "5"),
        ("<<", "<<"),
    ],
)
def test_scalars_are_those_of_yaml_1_2(text: str, value: object) -> None:
    read = data(f"- {text}")[0]
    assert (read, type(read)) == (value, type(value))


def test_not_a_number() -> None:
    assert math.isnan(data(".NaN"))


def test_nothing_is_none() -> None:
    assert data("a:\nb: ''\n") == {"a": None, "b": ""}
    assert data("# a comment\n") is None


@pytest.mark.parametrize("text", ["~: 1", "1: 1", "true: 1", "on: 1"])
def test_keys_are_text(text: str) -> None:
    assert [type(key) for key in data(text)] == [str]


def test_merge_keys() -> None:
    text = """
        base: &base {x: 1, y: 2}
        more: &more {<<: *base, y: 3}
        again: *more
        both: {<<: [*more, {z: 4, x: 0}], w: 5}
    """
    assert data(text) == {
        "base": {"x": 1, "y": 2},
        "more": {"x": 1, "y": 3},
        "again": {"x": 1, "y": 3},
        "both": {"x": 1, "y": 3, "z": 4, "w": 5},
    }


def test_overriding_a_merged_key_is_no_fault() -> None:
    source = strict.parse("a: &a {x: 1}\nb: &b {<<: *a, x: 2}\nc: *b\n", "recipe.yaml")
    assert source.errors == []


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("a: 1\nb: 2\na: 3\n", "recipe.yaml:3: a: this key is given twice"),
        ("a:\n  - {b: 1, b: 2}\n", "recipe.yaml:2: a.0.b: this key is given twice"),
        ("? [a, b]\n: 1\n", "recipe.yaml:1: a key should be plain text, without brackets"),
    ],
)
def test_faults_of_form(text: str, fault: str) -> None:
    assert strict.parse(text, "recipe.yaml").errors == [fault]


def test_every_part_has_its_line() -> None:
    text = "a: 1\nb:\n  c:\n    - x\n    - {d: 1,\n       e: 2}\n"
    assert strict.parse(text, "recipe.yaml").places == {
        (): "recipe.yaml:1",
        ("a",): "recipe.yaml:1",
        ("b",): "recipe.yaml:2",
        ("b", "c"): "recipe.yaml:3",
        ("b", "c", 0): "recipe.yaml:4",
        ("b", "c", 1): "recipe.yaml:5",
        ("b", "c", 1, "d"): "recipe.yaml:5",
        ("b", "c", 1, "e"): "recipe.yaml:6",
    }


def test_an_alias_has_the_line_of_its_key_and_its_parts_theirs() -> None:
    places = strict.parse("a: &a\n  x: 1\nb: *a\n", "recipe.yaml").places
    assert (places["b",], places["b", "x"]) == ("recipe.yaml:3", "recipe.yaml:2")


def test_fault_names_the_nearest_part_that_the_file_has() -> None:
    source = strict.parse("a:\n  b: 1\n", "recipe.yaml")
    assert source.error(("a", "<tag>", "b"), "is odd") == "recipe.yaml:2: a.b: is odd"
    assert source.error(("a", "c"), "is odd") == "recipe.yaml:1: a: is odd"
    assert source.error(("a", "c"), strict.words.MISSING) == "recipe.yaml:1: a.c: this key is missing"
    assert source.error((), "is odd") == "recipe.yaml:1: is odd"


def test_brackets_in_brackets_have_a_limit() -> None:
    """PyYAML needs time in proportion to the square of the depth."""
    with pytest.raises(RecipeError, match=r"^recipe.yaml:2: this is not YAML: there are more than 50 brackets in b"):
        data("a: b\nc: " + "[" * 2000)


@pytest.mark.parametrize("text", ["a: &a [*a]\n", "a: &a {b: {c: *a}}\n"])
def test_endless_nesting_is_refused(text: str) -> None:
    with pytest.raises(RecipeError, match="this is nested too deeply"):
        data(text)


@pytest.mark.parametrize("text", ["a: !!int ten", "a: !!float x", "a: !mine x", "a: !!binary aGk=", "a: !!bool maybe"])
def test_tags_are_refused(text: str) -> None:
    with pytest.raises(RecipeError, match=r"^recipe.yaml:1: '\w+=?' has the tag !.*: remove the tag$"):
        data(text)


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "cannot be read: No such file"), (b"a: \xff", "is not UTF-8 text: invalid start byte at byte 3")],
)
def test_files_that_cannot_be_read(content: bytes | None, words: str, tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(RecipeError, match=f"^{path}: {words}"):
        strict.read(path)


def test_control_characters_are_not_yaml() -> None:
    with pytest.raises(RecipeError, match=r"^recipe.yaml:1: this is not YAML: the character U\+0000 is not allowed$"):
        data("a: \x00")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (r'a: "\U00110000"', "1: this is not YAML: an escape (\\U) is no character"),
        (r'a: "\uD800"', r"1: '\ud800' has the character U+D800, which is not allowed here"),
        (r'a: "\0"', r"1: '\x00' has the character U+0000, which is not allowed here"),
        (r'{"\e[31m": 1}', r"1: '\x1b[31m' has the character U+001B, which is not allowed here"),
        ("a: 1\nb: " + "9" * 5000, "2: this is not YAML: this number is too long"),
        (
            "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 9)).replace("*a0", "x"),
            "1: this has more than 20,000 values, with aliases (*) written out",
        ),
    ],
)
def test_text_that_no_recipe_needs(text: str, words: str) -> None:
    with pytest.raises(RecipeError, match=f"^recipe.yaml:{re.escape(words)}$"):
        data(text)


def test_a_merge_that_would_lose_a_value_is_an_error() -> None:
    source = strict.parse("<<: [{mode: int8}, {mode: int16x8, name: x}]\n", "recipe.yaml")
    assert source.errors == ["recipe.yaml:1: mode: two mappings of one merge (<<) give this key"]
    source = strict.parse("a: &a {mode: int8}\nb: {<<: *a, mode: int16x8}\nc: {<<: [*a, {name: x}]}\n", "recipe.yaml")
    assert (source.errors, source.data["b"]) == ([], {"mode": "int16x8"})
    assert source.data["c"] == {"mode": "int8", "name": "x"}


def test_merges_of_merges_do_not_grow() -> None:
    text = "".join(f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 9)}]}}\n" for i in range(1, 40))
    assert data("a0: &a0 {x: 1}\n" + text)["a39"] == {"x": 1}


def test_a_file_that_is_too_large_is_not_read_to_its_end(tmp_path: Path) -> None:
    large = tmp_path / "large.yaml"
    with large.open("wb") as file:
        file.truncate(2**40)  # it has no blocks on the disk
    with pytest.raises(RecipeError, match="this is too large for a recipe, which has at most 1,048,576 bytes"):
        strict.read(large)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "this path is empty"),
        ("~nobody_there/x", "~nobody_there: this user has no home folder"),
        ("x" * 256, "this path has a part of more than 255 bytes"),
        ("é" * 128, "this path has a part of more than 255 bytes"),
        ("y/" * 2048, "this path has more than 4,095 bytes"),
    ],
    ids=("empty", "home", "part", "bytes", "whole"),
)
def test_paths_that_no_file_can_have(text: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"^{words}$"):
        strict.path_in(tmp_path, text)


RECIPE = """
model: net
calibration: {samples: 20, dataset: {npz: a.npz}}
latency: off
variants:
  - int8
  - {mode: int8_only, name: edge}
empty:
"""


def overridden(*assignments: str) -> strict.YamlSource:
    source = strict.parse(RECIPE, "recipe.yaml")
    strict.override(source, assignments)
    return source


@pytest.mark.parametrize(
    ("assignment", "path", "value"),
    [
        ("model=other", ["model"], "other"),
        ("calibration.samples=50", ["calibration", "samples"], 50),
        ("calibration.samples=all", ["calibration", "samples"], "all"),
        ("calibration.dataset={tfds: mnist, split: train}", ["calibration", "dataset", "tfds"], "mnist"),
        ("variants.1.name=x", ["variants", 1, "name"], "x"),
        ("variants.0={mode: float16}", ["variants", 0, "mode"], "float16"),
        ("variants=[float16, dynamic]", ["variants", 1], "dynamic"),
        ("latency={runs: 5}", ["latency", "runs"], 5),
        ("gates.max_size_ratio=0.3", ["gates", "max_size_ratio"], 0.3),
        ("inputs.image.scale=1e-2", ["inputs", "image", "scale"], 0.01),
        ("empty.x=1", ["empty", "x"], 1),
        ("model=", ["model"], None),
        ("model=a=b", ["model"], "a=b"),
        ("model='7'", ["model"], "7"),
    ],
)
def test_override(assignment: str, path: list[str | int], value: object) -> None:
    found = overridden(assignment).data
    for step in path:
        found = found[step]
    assert (found, type(found)) == (value, type(value))


def test_overrides_apply_in_their_order() -> None:
    assert overridden("latency={runs: 5}", "latency.runs=6", "latency.warmup=1").data["latency"] == {
        "runs": 6,
        "warmup": 1,
    }


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("model", "should have the form KEY=VALUE, such as calibration.samples=50"),
        ("=5", "should have the form KEY=VALUE, such as calibration.samples=50"),
        ("a..b=5", "should have the form KEY=VALUE, such as calibration.samples=50"),
        ("model.signature=x", "model of recipe.yaml is 'net', not a mapping, so it cannot have the key 'signature'"),
        ("latency.runs=5", "latency of recipe.yaml is 'off', not a mapping, so it cannot have the key 'runs'"),
        ("variants.0.name=x", "variants.0 of recipe.yaml is 'int8', not a mapping, so it cannot have the key 'name'"),
        ("variants.2=x", "variants of recipe.yaml is a list with 2 entries, counted from 0, and has no entry '2'"),
        ("variants.-1=x", "variants of recipe.yaml is a list with 2 entries, counted from 0, and has no entry '-1'"),
        (
            "variants.edge.name=x",
            "variants of recipe.yaml is a list with 2 entries, counted from 0, and has no entry 'edge'",
        ),
        ("variants=[int8", "this is not YAML: expected ',' or ']', but got '<stream end>'; a bracket is not closed"),
        ("model=a: b: c", "this is not YAML: mapping values are not allowed here; check the indentation"),
    ],
)
def test_override_that_cannot_be(assignment: str, message: str) -> None:
    with pytest.raises(RecipeError) as error:
        overridden(assignment)
    assert str(error.value).startswith(f"--set {assignment}: {message}")


def test_override_of_an_empty_file() -> None:
    with pytest.raises(
        RecipeError, match=r"^--set a=1: recipe.yaml is nothing, not a mapping, so it cannot have the key 'a'$"
    ):
        strict.override(strict.parse("", "recipe.yaml"), ["a=1"])


class Part(Strict):
    size: PositiveInt
    names: Annotated[tuple[FileName, ...], AsTuple] = ()


class Whole(Strict):
    sections = {"size": "part"}  # noqa: RUF012  (pydantic leaves it alone: the base declares it a ClassVar)

    path: RecipePath = Path("here")
    part: Part | None = None
    kind: Literal["one", "two"] = "one"
    count: Annotated[PositiveInt | Literal["all", "none"] | Part, or_words("a number above 0", "all", "none")] = 1
    function: FunctionName = "a:b"
    ratio: float = Field(0.5, lt=1)


def faults(text: str, *assignments: str) -> list[str]:
    source = strict.parse(text, "recipe.yaml")
    strict.override(source, assignments)
    with pytest.raises(RecipeError) as error:
        strict.validate(source, Whole, Path())
    return str(error.value).splitlines()


def test_every_fault_is_told_in_the_order_of_lines() -> None:
    text = "kind: three\npart:\n  size: 0\n  names: [a, b/c]\n  nmaes: []\nratio: 1\nratio: 2\n"
    assert faults(text) == [
        "recipe.yaml:1: kind: 'three' is not one of one, two",
        "recipe.yaml:3: part.size: should be above 0, not 0",
        "recipe.yaml:4: part.names.1: 'b/c' cannot be part of a file name:"
        " use letters, digits, _, - and ., and do not start with - or .",
        "recipe.yaml:5: part.nmaes: unknown key (did you mean 'names'?)",
        "recipe.yaml:7: ratio: this key is given twice",
        "recipe.yaml:7: ratio: should be below 1, not 2",
    ]


def test_faults_of_an_override_name_it_and_come_first() -> None:
    assert faults("kind: three\npart: {size: 1}\n", "part.size=none", "party.size=1", "ratio=2") == [
        "--set part.size=none: part.size: should be a whole number, not 'none'",
        "--set ratio=2: ratio: should be below 1, not 2",
        "--set party.size=1: party: unknown key (did you mean 'part'?)",
        "recipe.yaml:1: kind: 'three' is not one of one, two",
    ]


def test_override_takes_the_faults_of_what_it_replaces_away() -> None:
    source = strict.parse("part: {size: none, names: 3}\n", "recipe.yaml")
    strict.override(source, ["part={size: 2}"])
    assert strict.validate(source, Whole, Path()).part == Part(size=2)


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        ("0", "count: should be all, none or a number above 0, not 0"),
        ("al", "count: should be all, none or a number above 0, not 'al' (did you mean 'all'?)"),
        ("[1]", "count: should be all, none or a number above 0, not a list"),
        ("true", "count: should be all, none or a number above 0, not true"),
        ("", "count: should be all, none or a number above 0, not nothing"),
        ("{size: 0}", "count.size: should be above 0, not 0"),
        ("{}", "count.size: this key is missing"),
    ],
)
def test_union_with_words_has_one_fault(value: str, fault: str) -> None:
    assert faults(f"count: {value}") == [f"recipe.yaml:1: {fault}"]


@pytest.mark.parametrize("name", ["a", "a.b-c_d", "0", "größe", "_x"])
def test_names_of_files(name: str) -> None:
    assert Part(size=1, names=(name,)).names == (name,)


@pytest.mark.parametrize("name", ["", ".", "-a", ".a", "a b", "a/b", "a\n", "a:b"])
def test_no_names_of_files(name: str) -> None:
    with pytest.raises(ValueError, match="cannot be part of a file name"):
        Part(size=1, names=(name,))


@pytest.mark.parametrize("name", ["data", "data.py", "data:", ":rows", "a b:c", "a.:b", "a:b:c", "a:b.c"])
def test_no_names_of_functions(name: str) -> None:
    with pytest.raises(ValueError, match="should have the form module:function"):
        Whole(function=name)


def test_key_that_belongs_elsewhere() -> None:
    assert faults("size: 3\nsizes: 3\n") == [
        "recipe.yaml:1: size: unknown key here; it belongs in part",
        "recipe.yaml:2: sizes: unknown key",
    ]


def test_paths_are_read_and_written_from_folders(tmp_path: Path) -> None:
    source = strict.parse("path: ../data/x.npz\n", "recipe.yaml")
    whole = strict.validate(source, Whole, tmp_path / "recipes")
    assert whole.path == tmp_path / "data/x.npz"
    assert whole.model_dump(mode="json", context={"folder": tmp_path / "build"})["path"] == "../data/x.npz"


AWKWARD = [
    *("on", "off", "null", "~", "12:30", "2024-12-30", "1e3", "0o17", "0x1F", "08", "1_000", "4__0", ".5", ".inf", "="),
    *("", " a ", "a: b", "# a", "- a", "*a", "&a", "!a", "<<", "größe", "a\nb", "'", '"', "\\n", "\t"),
    *(1, -1, 0, 1.5, 1e-05, 1e300, math.inf, True, False, None, [], {}, [None], {"08": "1e3"}),
]


def test_written_data_reads_as_the_same_in_yaml_1_2_and_1_1() -> None:
    shared: list[Any] = [1, 2]
    whole = {"values": AWKWARD, **{str(value): "key" for value in AWKWARD}, "a": shared, "b": shared}
    text = strict.write(whole)
    assert data(text) == whole
    assert yaml.safe_load(text) == whole
    assert "&" not in text.replace("'&a'", "")

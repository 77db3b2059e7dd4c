from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tflq.datasets.python import Python
from tflq.errors import DatasetError


@pytest.fixture
def module(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A file for a module that no other test imports."""
    return tmp_path / f"rows_{abs(hash(request.node.name))}.py"


def dataset(module: Path, function: str = "rows") -> Python:
    return Python(python=f"{module.stem}:{function}", folder=module.parent)


def test_rows_that_are_yielded_are_not_counted(module: Path) -> None:
    module.write_text("def rows():\n    for i in range(9):\n        yield {'x': i}\n")
    assert dataset(module).count() is None
    assert [row["x"] for row in dataset(module).rows((1, 4))] == [1, 4]
    assert [row["x"] for row in dataset(module).rows((7, 8, 9, 10))] == [7, 8]
    assert list(dataset(module).rows(())) == []


def test_no_more_is_yielded_than_needed(module: Path) -> None:
    module.write_text("def rows():\n    yield {'x': 0}\n    yield {'x': 1}\n    raise ValueError\n")
    assert [row["x"] for row in dataset(module).rows((0, 1))] == [0, 1]


@pytest.mark.parametrize(
    "code",
    [
        "def rows():\n    return [{'x': i} for i in range(9)]\n",
        "class rows:\n    __len__ = lambda self: 9\n    __getitem__ = lambda self, i: {'x': i}\n",
    ],
    ids=["list", "class"],
)
def test_rows_of_a_sequence_are_counted(module: Path, code: str) -> None:
    module.write_text(code)
    assert dataset(module).count() == 9
    assert [row["x"] for row in dataset(module).rows((1, 4))] == [1, 4]


def test_code_finds_its_neighbours_and_leaves_the_path_alone(tmp_path: Path) -> None:
    package = tmp_path / "tflq_test_package"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "data.py").write_text("def rows():\n    from tflq_test_neighbour import X\n    yield {'x': X}\n")
    (tmp_path / "tflq_test_neighbour.py").write_text("X = 5\n")
    before = list(sys.path)
    dataset = Python(python="tflq_test_package.data:rows", folder=tmp_path)
    assert [dict(row) for row in dataset.rows([0])] == [{"x": 5}]
    assert sys.path == before


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("def rows(", "{name}:rows: {file}:1: SyntaxError: '(' was never closed ({file_name}, line 1)"),
        ("import absent_x", "{name}:rows: {file}:1: ModuleNotFoundError: No module named 'absent_x'"),
        ("raise SystemExit(3)", "{name}:rows: {file}:1: SystemExit: 3"),
        ("def row():\n    ...", "{name}:rows: {file} has no function 'rows' (did you mean 'row'?)"),
        ("rows = 5", "{name}:rows: {file} has no function 'rows'"),
        (
            "def rows(path):\n    ...",
            "{name}:rows: missing a required argument: 'path', but it is called without arguments: give each parameter"
            " a default value",
        ),
        (
            "def rows():\n    return open('absent')",
            "{name}:rows: {file}:2: FileNotFoundError: [Errno 2] No such file or directory: 'absent'",
        ),
        (
            "def rows():\n    yield {'x': 1}\n    yield {'x': 1 / 0}",
            "{name}:rows: {file}:3: ZeroDivisionError: division by zero",
        ),
        (
            "def rows():\n    yield 1, 2",
            "{name}:rows: row 0 is a tuple; it should be a dict that maps column names to arrays or numbers",
        ),
        (
            "def rows():\n    return {'x': [1, 2]}",
            "{name}:rows: returned a dict; it should yield rows, or return a sequence of rows",
        ),
        (
            "def rows():\n    ...",
            "{name}:rows: returned a NoneType; it should yield rows, or return a sequence of rows",
        ),
        (
            "import json\ndef rows():\n    return [json.loads('?')]",
            "{name}:rows: {file}:3: JSONDecodeError: Expecting value: line 1 column 1 (char 0)",
        ),
    ],
)
def test_fault_of_the_code_is_told_with_its_line(module: Path, code: str, message: str) -> None:
    module.write_text(code)
    with pytest.raises(DatasetError) as error:
        list(dataset(module).rows((0, 1)))
    assert str(error.value) == message.format(name=module.stem, file=module, file_name=module.name)


def test_absent_module(tmp_path: Path) -> None:
    with pytest.raises(DatasetError) as error:
        Python(python="absent_y.data:rows", folder=tmp_path).count()
    assert str(error.value) == "absent_y.data:rows: ModuleNotFoundError: No module named 'absent_y'"


def test_module_that_is_another(tmp_path: Path, module: Path) -> None:
    module.write_text("def rows():\n    return []\n")
    assert dataset(module).count() == 0
    namesake = tmp_path / "other" / module.name
    namesake.parent.mkdir()
    namesake.write_text(module.read_text())
    with pytest.raises(DatasetError) as error:
        dataset(namesake).count()
    assert str(error.value) == (
        f"{module.stem}:rows: Python already has another module {module.stem!r} ({module}) than {namesake}:"
        " rename yours"
    )


def test_interruption_stays_one(module: Path) -> None:
    module.write_text("def rows():\n    raise KeyboardInterrupt\n")
    with pytest.raises(KeyboardInterrupt):
        dataset(module).count()

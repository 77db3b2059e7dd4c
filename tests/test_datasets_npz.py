from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tflq.datasets.npz import Npz
from tflq.errors import DatasetError

COLUMNS = {
    "image": np.arange(5 * 4 * 3, dtype=np.uint8).reshape(5, 4, 3),
    "label": np.arange(5, dtype=np.int64) * 10,
    "column_major": np.asfortranarray(np.arange(10.0).reshape(5, 2)),
    "big_endian": np.arange(5, dtype=">f4"),
    "text": np.array(["a", "bc", "d", "e", "f"]),
    "no_values": np.zeros((5, 0)),
}


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_rows(tmp_path: Path, save: object) -> None:
    save(tmp_path / "data.npz", **COLUMNS)
    dataset = Npz(npz=tmp_path / "data.npz")
    assert dataset.count() == 5
    rows = list(dataset.rows((0, 3, 4)))
    assert [list(row) for row in rows] == [list(COLUMNS)] * 3
    for row, index in zip(rows, (0, 3, 4), strict=True):
        for name, array in COLUMNS.items():
            np.testing.assert_array_equal(row[name], array[index])
            assert row[name].dtype.kind == array.dtype.kind


def test_what_savez_wrote_is_mapped_and_the_rest_unpacked(tmp_path: Path) -> None:
    np.savez(tmp_path / "mapped.npz", x=np.zeros((3, 4)))
    np.savez_compressed(tmp_path / "packed.npz", x=np.zeros((3, 4)))
    kinds = [type(next(Npz(npz=tmp_path / name).rows([1]))["x"]) for name in ("mapped.npz", "packed.npz")]
    assert kinds == [np.memmap, np.ndarray]


def test_column_that_nobody_asks_for_is_not_read(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (2, 9000), dtype=np.uint8)
    np.savez_compressed(tmp_path / "data.npz", good=np.arange(2), broken=noise)
    packed = bytearray((tmp_path / "data.npz").read_bytes())
    packed[9000] ^= 1
    (tmp_path / "data.npz").write_bytes(packed)
    (row,) = Npz(npz=tmp_path / "data.npz").rows([1])
    assert row["good"] == 1
    with pytest.raises(
        DatasetError, match=r"data\.npz: column 'broken' is damaged or cut short: copy or write the file again "
    ):
        row["broken"]


@pytest.mark.parametrize(
    ("before", "after"), [(b"'shape'", b"'shape("), (b"'descr'", b"'desXX'"), (b"(2,)", b"(2,("), (b"<f4", b"<~4")]
)
def test_a_damaged_header_of_an_array_is_told(tmp_path: Path, before: bytes, after: bytes) -> None:
    path = tmp_path / "data.npz"
    np.savez(path, x=np.zeros(2, np.float32))
    content = path.read_bytes()
    assert before in content
    path.write_bytes(content.replace(before, after))
    with pytest.raises(DatasetError, match=r"data\.npz: is not a complete \.npz file, as numpy\.savez writes it: "):
        Npz(npz=path).count()


def rows_of(path: Path) -> list[dict[str, Any]] | None:
    """All rows with all columns, or None if the file is refused."""
    dataset = Npz(npz=path)
    try:
        return [dict(row) for row in dataset.rows(range(dataset.count()))]
    except DatasetError:
        return None


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_no_flipped_bit_changes_the_data_in_silence(tmp_path: Path, save: object) -> None:
    path = tmp_path / "data.npz"
    columns = {"image": np.random.default_rng(0).normal(size=(6, 400)).astype(np.float32), "label": np.arange(6)}
    save(path, **columns)
    content = path.read_bytes()
    positions = [*range(0, 300, 7), *range(300, len(content), 397), *range(len(content) - 140, len(content))]
    accepted = 0
    for position in positions:
        path.write_bytes(content[:position] + bytes([content[position] ^ 1 << position % 8]) + content[position + 1 :])
        rows = rows_of(path)
        if rows is not None:
            accepted += 1
            assert [list(row) for row in rows] == [list(columns)] * 6, position
            for name, array in columns.items():
                np.testing.assert_array_equal([row[name] for row in rows], array, f"the bit flipped at {position}")
    assert accepted < len(positions) / 2  # such as those of dates


def test_a_flipped_value_is_told_with_its_column(tmp_path: Path) -> None:
    path = tmp_path / "data.npz"
    np.savez(path, good=np.zeros((2, 9000)), broken=np.ones((2, 9000), np.float32))
    content = path.read_bytes()
    path.write_bytes(content.replace(np.ones(8000, np.float32).tobytes(), np.full(8000, 1.5, np.float32).tobytes()))
    with pytest.raises(DatasetError, match=r"data\.npz: column 'broken' is damaged or cut short: copy or write"):
        Npz(npz=path).count()


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"a": np.zeros(3), "b": np.zeros((2, 3))}, "the columns differ in their number of rows: a has 3, b has 2"),
        (
            {"a": np.array([{}, {}], object)},
            "column 'a' holds Python objects, which are not read because they may run code:"
            " save an array of numbers, with all rows of one shape",
        ),
        ({"a": np.zeros(3), "rate": 0.1}, "column 'rate' is a single value without rows: remove it from the file"),
        ({}, "has no arrays"),
    ],
)
def test_columns_that_are_no_rows(tmp_path: Path, columns: dict[str, np.ndarray], message: str) -> None:
    np.savez(tmp_path / "data.npz", **columns)
    with pytest.raises(DatasetError) as error:
        Npz(npz=tmp_path / "data.npz").count()
    assert str(error.value) == f"{tmp_path}/data.npz: {message}"


def test_other_files(tmp_path: Path) -> None:
    np.save(tmp_path / "array.npy", np.zeros(3))
    with zipfile.ZipFile(tmp_path / "archive.zip", "w") as archive:
        archive.writestr("readme.txt", "no array")
    np.savez(tmp_path / "whole.npz", x=np.zeros(100))
    (tmp_path / "cut.npz").write_bytes((tmp_path / "whole.npz").read_bytes()[:500])
    with pytest.raises(DatasetError, match=r"/array\.npy: is a \.npy file with one array: save it under the name of"):
        Npz(npz=tmp_path / "array.npy").count()
    for name in ("archive.zip", "cut.npz"):
        with pytest.raises(DatasetError, match=rf"/{name}: is not a complete \.npz file, as numpy\.savez writes it: "):
            Npz(npz=tmp_path / name).count()
    with pytest.raises(DatasetError, match=r"/absent\.npz: cannot be read: No such file or directory$"):
        Npz(npz=tmp_path / "absent.npz").count()

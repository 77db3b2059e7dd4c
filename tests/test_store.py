"""What is kept between runs: whole or not at all, of a bounded size, and never taken for something else."""

from __future__ import annotations

import json
import os
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from tflq.cache import Store, default_store
from tflq.errors import RecipeError


def folder(path: Path, text: str = "content") -> Path:
    (path / "below").mkdir(parents=True)
    (path / "a").write_text(text)
    (path / "below/b").write_text(text)
    return path


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store", 10_000_000)


def test_what_was_kept_is_found_again(store: Store, tmp_path: Path) -> None:
    store.keep("model", "k", folder(tmp_path / "made"))
    assert store.has("model", "k")
    assert store.fetch("model", "k", tmp_path / "found")
    assert {path.name: path.read_text() for path in (tmp_path / "found").rglob("*") if path.is_file()} == {
        "a": "content",
        "b": "content",
    }


def test_other_keys_and_kinds_are_not_found(store: Store, tmp_path: Path) -> None:
    store.keep("model", "k", folder(tmp_path / "made"))
    assert not store.fetch("model", "other", tmp_path / "found")
    assert not store.fetch("ranges", "k", tmp_path / "found")
    assert not (tmp_path / "found").exists()
    assert store.notes == []


DAMAGES = {
    "changed": lambda entry: (entry / "a").write_text("Content"),
    "cut short": lambda entry: (entry / "below/b").write_text(""),
    "lost": lambda entry: (entry / "a").unlink(),
    "manifest": lambda entry: (entry / "manifest.json").write_text("{"),
    "of a list": lambda entry: (entry / "manifest.json").write_text("[]"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_told_and_made_anew(store: Store, tmp_path: Path, damage: str) -> None:
    store.keep("model", "k", folder(tmp_path / "made"))
    (entry,) = store.entries()
    DAMAGES[damage](entry.path)
    assert not store.fetch("model", "k", tmp_path / "found")
    assert not (tmp_path / "found").exists()
    assert store.notes == [f"the cache entry {entry.path} was damaged, so it is computed again"]
    store.keep("model", "k", tmp_path / "made")
    assert store.fetch("model", "k", tmp_path / "found")


def test_what_was_not_used_for_longest_makes_room(store: Store, tmp_path: Path) -> None:
    for age, key in enumerate("abc"):
        store.keep("model", key, folder(tmp_path / key, key * 1000))
        os.utime(store.root / f"model-{key}" / "manifest.json", (1000 + age, 1000 + age))
    store.fetch("model", "a", tmp_path / "found")
    kept = store.entries()[0].size_bytes
    removed = store.shrink(2 * kept)
    assert [entry.path.name for entry in removed] == ["model-b"]
    assert [entry.path.name for entry in store.entries()] == ["model-a", "model-c"]


def test_size_is_bounded_as_things_are_kept(tmp_path: Path) -> None:
    store = Store(tmp_path / "store", 5000)
    for key in "abcdefgh":
        store.keep("model", key, folder(tmp_path / key, key * 1000))
    assert sum(entry.size_bytes for entry in store.entries()) <= 5000


def test_what_a_killed_process_left_goes_away(store: Store, tmp_path: Path) -> None:
    store.keep("model", "k", folder(tmp_path / "made"))
    left = store.root / ".new-999999999-abc"
    left.mkdir()
    mine = store.root / f".new-{os.getpid()}-abc"
    mine.mkdir()
    store.keep("model", "other", tmp_path / "made")
    assert (left.exists(), mine.exists(), len(store.entries())) == (False, True, 2)


def use(root: Path, number: int, source: Path) -> list[str]:
    """Keep, find and make room, over and over, with few keys that collide."""
    store = Store(root, 6000)
    for turn in range(30):
        key = str((number + turn) % 5)
        store.keep("model", key, source)
        target = root.parent / f"found-{number}-{turn}"
        if store.fetch("model", key, target) and (target / "a").read_text() != "content" * 100:
            return ["another content"]
    return store.notes


def test_several_processes_at_once(tmp_path: Path) -> None:
    made = folder(tmp_path / "made", "content" * 100)
    with ProcessPoolExecutor(4) as pool:
        done = [pool.submit(use, tmp_path / "store", number, made) for number in range(4)]
        assert [one.result() for one in done] == [[], [], [], []]


def test_a_place_that_cannot_be_written_costs_nothing_but_a_note(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    store = Store(tmp_path / "file", 1000)
    store.keep("model", "k", folder(tmp_path / "made"))
    assert store.notes == [f"nothing could be saved in the cache {tmp_path / 'file'}: File exists"]
    assert not store.fetch("model", "k", tmp_path / "found")


def test_environment_says_where_and_how_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TFLQ_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("TFLQ_CACHE_GB", "0.5")
    store = default_store()
    assert (store.root, store.limit_bytes) == (tmp_path, 500_000_000)
    monkeypatch.setenv("TFLQ_CACHE_GB", "much")
    with pytest.raises(RecipeError, match="TFLQ_CACHE_GB is 'much'; it should be a number of gigabytes"):
        default_store()


def test_manifest_lists_every_file(store: Store, tmp_path: Path) -> None:
    store.keep("model", "k", folder(tmp_path / "made"))
    (entry,) = store.entries()
    assert set(json.loads((entry.path / "manifest.json").read_text())) == {"a", "below/b"}

"""What is kept between runs: whole or not at all, of a bounded size, and never taken for something else."""

from __future__ import annotations

import json
import os
import shutil
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from tflq.cache import Store, default_store
from tflq.cache.total import locked_total
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


def test_what_is_kept_in_the_background_is_found(store: Store, tmp_path: Path) -> None:
    made = folder(tmp_path / "made", "content" * 100_000)
    for key in "abc":
        store.keep_in_background("model", key, made)
    assert store.fetch("model", "c", tmp_path / "found")
    store.wait()
    shutil.rmtree(made)
    assert {entry.path.name for entry in store.entries()} == {"model-a", "model-b", "model-c"}
    assert store.notes == []


def test_what_cannot_be_kept_in_the_background_is_told(store: Store, tmp_path: Path) -> None:
    store.keep_in_background("model", "k", tmp_path / "missing")
    store.wait()
    assert store.notes == [f"nothing could be saved in the cache {store.root}: No such file or directory"]


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
    left, mine = store.root / ".new/999999999-abc", store.root / f".new/{os.getpid()}-abc"
    left.mkdir()
    mine.mkdir()
    store.keep("model", "other", tmp_path / "made")
    assert (left.exists(), mine.exists(), len(store.entries())) == (False, True, 2)


def counted(store: Store) -> int:
    return sum(entry.size_bytes for entry in store.entries())


def known(store: Store) -> int | None:
    """The total that is known without listing the entries."""
    with locked_total(store.root / ".total") as total:
        return total.bytes()


def filled(store: Store, tmp_path: Path, keys: str) -> Store:
    """The store with an entry for each key, of a size of its own; the first was unused for the longest time."""
    for age, key in enumerate(keys):
        store.keep("model", key, folder(tmp_path / key, key * (1000 + age)))
        os.utime(store.root / f"model-{key}" / "manifest.json", (1000 + age, 1000 + age))
    return store


def test_the_total_follows_what_is_kept_and_removed(store: Store, tmp_path: Path) -> None:
    filled(store, tmp_path, "abc")
    assert known(store) == counted(store) > 6000
    store.keep("model", "a", tmp_path / "b")  # it is there already
    assert known(store) == counted(store)
    (store.root / "model-b/a").write_text("B" * 1001)
    assert not store.fetch("model", "b", tmp_path / "found")
    assert known(store) == counted(store) > 4000
    store.shrink(3000)
    assert known(store) == counted(store) > 2000
    store.shrink(0)
    assert known(store) == counted(store) == 0


def test_saving_does_not_count_all_entries(store: Store, tmp_path: Path) -> None:
    """An entry that comes from elsewhere is not in the total until the entries are counted."""
    filled(store, tmp_path, "a")
    folder(store.root / "model-from-elsewhere", "x" * 1000)
    store.keep("model", "b", folder(tmp_path / "b"))
    assert known(store) == counted(store) - 2000


DOUBTS = {
    "missing": lambda file: file.unlink(),
    "empty": lambda file: file.write_text(""),
    "cut short": lambda file: file.write_text(file.read_text()[:25]),
    "no number": lambda file: file.write_text("many\n"),
    "of yesterday": lambda file: file.write_text(f"{1:020} {int(time.time()) - 90_000:012}\n"),
    "of tomorrow": lambda file: file.write_text(f"{1:020} {int(time.time()) + 90_000:012}\n"),
}


@pytest.mark.parametrize("doubt", DOUBTS)
def test_a_total_in_doubt_is_counted(store: Store, tmp_path: Path, doubt: str) -> None:
    filled(store, tmp_path, "ab")
    DOUBTS[doubt](store.root / ".total")
    assert known(store) is None
    store.keep("model", "c", folder(tmp_path / "c"))
    assert known(store) == counted(store) > 4000


def test_entries_deleted_by_hand_do_not_let_others_go(tmp_path: Path) -> None:
    store = filled(Store(tmp_path / "store", 10_000), tmp_path, "abcd")
    for key in "ab":
        shutil.rmtree(store.root / f"model-{key}")
    assert (known(store) or 0) > 8000
    store.keep("model", "e", folder(tmp_path / "e", "e" * 1000))
    assert {entry.path.name for entry in store.entries()} == {"model-c", "model-d", "model-e"}
    assert known(store) == counted(store)


@pytest.mark.parametrize("days", [-15_000, 15_000])
def test_dates_of_a_wrong_clock_lose_nothing(store: Store, tmp_path: Path, days: int) -> None:
    filled(store, tmp_path, "ab")
    for file in (store.root / "model-a").iterdir():
        os.utime(file, (time.time() + days * 24 * 3600,) * 2)
    assert store.fetch("model", "a", tmp_path / "found")
    assert {entry.path.name for entry in store.entries()} == {"model-a", "model-b"}
    store.keep("model", "c", folder(tmp_path / "c"))
    assert (store.notes, known(store)) == ([], counted(store))
    assert {entry.path.name for entry in store.shrink(counted(store) - 1)} == {"model-b"}


def test_a_cache_deleted_by_hand_starts_again(store: Store, tmp_path: Path) -> None:
    filled(store, tmp_path, "ab")
    shutil.rmtree(store.root)
    store.keep("model", "c", folder(tmp_path / "c"))
    assert (store.notes, known(store)) == ([], counted(store))


def test_a_full_cache_is_shrunk_by_more_than_it_must(tmp_path: Path) -> None:
    """So that the next entries do not list it again."""
    store = filled(Store(tmp_path / "store", 21_000), tmp_path, "abcdefghij")
    assert 16_000 < counted(store) <= 18_900
    assert known(store) == counted(store)


def test_one_entry_that_almost_fills_the_cache_stays(tmp_path: Path) -> None:
    store = filled(Store(tmp_path / "store", 2300), tmp_path, "ab")
    assert [entry.path.name for entry in store.entries()] == ["model-b"]


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
    store = Store(tmp_path / "store", 6000)
    assert known(store) == counted(store) <= 6000
    assert list((store.root / ".new").iterdir()) == []


def test_a_place_that_cannot_be_written_costs_nothing_but_a_note(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    store = Store(tmp_path / "file", 1000)
    store.keep("model", "k", folder(tmp_path / "made"))
    assert store.notes == [f"nothing could be saved in the cache {tmp_path / 'file'}: Not a directory"]
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


def test_a_new_cache_is_for_its_owner_alone(store: Store, tmp_path: Path) -> None:
    store.keep("model", "k", folder(tmp_path / "made"))
    assert store.root.stat().st_mode & 0o777 == 0o700
    assert not store.notes


def test_a_cache_that_others_can_write_to_is_not_used(store: Store, tmp_path: Path) -> None:
    store.keep("model", "k", folder(tmp_path / "made"))
    store.root.chmod(0o777)
    open_store = Store(store.root, 10_000_000)
    assert not open_store.has("model", "k")
    assert not open_store.fetch("model", "k", tmp_path / "found")
    open_store.keep("model", "other", tmp_path / "made")
    assert len(open_store.entries()) == 1
    advice = f"run chmod go-w {store.root} and tflq cache --clear"
    assert open_store.notes == [f"others can write to the cache {store.root}, so it was not used: {advice}"]


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder to another user")
def test_a_cache_of_another_user_is_not_used(store: Store, tmp_path: Path) -> None:
    store.keep("model", "k", folder(tmp_path / "made"))
    os.chown(store.root, 65534, -1)
    (said,) = Store(store.root, 10_000_000).notes
    assert said.endswith("belongs to another user, so it was not used: set TFLQ_CACHE_DIR to a folder of yours")

"""Worker processes that run one task after another."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import tasks
from running import Recipes
from waiting import until

from tflq.errors import ConversionError
from tflq.pipeline import Settings, run
from tflq.recipe import load
from tflq.worker import Done, Event, Failed, Finished, LogText, Started, Task, WorkerPool, Workers


def task(function: Callable[..., Any], *arguments: object, stage: str = "work") -> Task[Any]:
    return Task(stage, function, arguments, ConversionError)


@pytest.fixture
def events() -> list[Event]:
    return []


@pytest.fixture
def workers(tmp_path: Path, events: list[Event]) -> Iterator[Workers]:
    with Workers(tmp_path / "log", None, events.append) as workers:
        yield workers


def is_gone(process: int) -> bool:
    return not Path(f"/proc/{process}").exists()


def test_one_process_runs_all_tasks(workers: Workers) -> None:
    outcomes = workers.run_all([task(tasks.process)] * 4, jobs=1)
    assert len({outcome.get() for outcome in outcomes}) == 1
    assert workers.run(task(tasks.process)).value == outcomes[0].get()


def test_two_jobs_have_two_processes(workers: Workers) -> None:
    assert len({outcome.get() for outcome in workers.run_all([task(tasks.process)] * 8, jobs=2)}) == 2


def test_each_task_has_its_heading_and_its_output(workers: Workers, events: list[Event]) -> None:
    for word in ("one", "two"):
        workers.run(task(tasks.say, word, stage=word))
    said = [event.text if isinstance(event, LogText) else type(event).__name__ for event in events]
    for word in ("one", "two"):
        assert f"=== {word}\n" in "".join(said)
        assert f"{word} to stdout\n" in "".join(said).partition(f"=== {word}\n")[2].partition("===")[0]
    assert said.count("Started") == said.count("Finished") == 2
    assert workers.log.read_text() == "".join(event.text for event in events if isinstance(event, LogText))


def test_a_crash_after_other_tasks_is_no_error_of_the_task(workers: Workers, events: list[Event]) -> None:
    first = workers.run(task(tasks.process)).value
    again = workers.run(task(tasks.die_unless_first, stage="suspect"))
    assert again.value != first
    assert is_gone(first)
    assert [type(event) for event in events if not isinstance(event, LogText)] == [Started, Finished] * 2
    log = workers.log.read_text()
    assert "=== suspect\nFatal Python error: Segmentation fault" in log
    assert log.endswith("=== suspect, again in a new process\n")


def test_a_crash_in_a_new_process_is_the_error_of_the_task(workers: Workers) -> None:
    outcomes = workers.run_all(
        [task(tasks.process), task(tasks.signal_itself, int(signal.SIGSEGV), stage="guilty"), task(tasks.process)], 1
    )
    assert [type(outcome) for outcome in outcomes] == [Done, Failed, Done]
    assert isinstance(outcomes[1], Failed)
    assert str(outcomes[1].error).startswith("guilty: the worker process crashed with SIGSEGV; the log's last lines")
    assert workers.log.read_text().count("=== guilty") == 2


def test_a_process_that_died_while_it_waited_is_replaced(workers: Workers) -> None:
    first = workers.run(task(tasks.process)).value
    os.kill(first, signal.SIGKILL)
    until(lambda: is_gone(first))
    assert workers.run(task(tasks.traces)).value[1] == []


def test_a_process_whose_task_failed_is_not_used_again(workers: Workers) -> None:
    first = workers.run(task(tasks.process)).value
    with pytest.raises(ConversionError, match="ZeroDivisionError"):
        workers.run(task(tasks.fail, "odd"))
    assert is_gone(first)
    assert workers.run(task(tasks.traces)).value[1] == []


def test_a_process_that_has_grown_is_not_used_again(workers: Workers) -> None:
    first = workers.run(task(tasks.leak, 20)).value
    assert workers.run(task(tasks.leak, 200)).value == first
    assert workers.run(task(tasks.traces)).value[1] == []
    until(lambda: is_gone(first))


def test_a_task_may_have_a_process_of_its_own(workers: Workers, events: list[Event]) -> None:
    first = workers.run(task(tasks.process)).value
    own, traces = workers.run(task(tasks.own_process, stage="alone")).value
    after, traces_after = workers.run(task(tasks.traces)).value
    assert (traces, traces_after) == (["own process"], ["process"])
    assert own not in {first, after}
    assert workers.log.read_text().count("=== alone\n") == 1
    assert [type(event) for event in events if not isinstance(event, LogText)] == [Started, Finished] * 3


def test_code_of_the_user_has_a_process_of_its_own(workers: Workers) -> None:
    processes = [workers.run(task(function)).value for function in (tasks.process, tasks.foreign_code, tasks.process)]
    assert processes[0] == processes[2] != processes[1]


def test_peak_memory_is_that_of_each_task(workers: Workers) -> None:
    small, large, after = (workers.run(task(tasks.allocate_here, megabytes)) for megabytes in (1, 300, 1))
    assert small.value == large.value == after.value
    assert large.peak_rss_bytes - after.peak_rss_bytes > 250_000_000
    assert workers.peak_rss_bytes == large.peak_rss_bytes


def test_runs_share_the_processes_of_a_pool(tmp_path: Path) -> None:
    with WorkerPool() as pool:
        values = []
        for name in ("one", "two"):
            with Workers(tmp_path / name, None, lambda _: None, pool=pool) as workers:
                values.append(workers.run(task(tasks.process, stage=name)).value)
                file = Path(workers.run(task(tasks.litter)).value)
                assert file.exists()
            assert not file.parent.exists()
            assert (tmp_path / name).read_text().startswith(f"=== {name}\n")
        assert values[0] == values[1]
        assert not is_gone(values[0])
    until(lambda: is_gone(values[0]))


VARIANTS = ["float32", "dynamic", "float16", "int8", {"mode": "int16x8", "bias_correction": "off"}]
"""One of each kind of conversion, with corrections in dynamic and int8."""


def test_runs_that_share_a_pool_share_the_values_of_tasks_without_arguments(tmp_path: Path) -> None:
    own, given = task(tasks.process_id, stage="own"), task(tasks.add, 1, 2, stage="given")
    with WorkerPool() as pool:
        with Workers(tmp_path / "first", None, lambda _: None, pool=pool) as first:
            assert first.known(own) is None
            outcomes = first.run_all([own, given], 1)
        with Workers(tmp_path / "second", None, lambda _: None, pool=pool) as second:
            assert [second.known(own), second.known(given)] == [outcomes[0], None]
    with Workers(tmp_path / "third", None, lambda _: None) as third:
        assert third.known(own) is None


def test_a_file_does_not_depend_on_what_its_processes_made_before(recipes: Recipes) -> None:
    """The files of a Keras model, in processes that have converted it and another one, and in new processes."""
    with WorkerPool() as pool:
        _, first, again = (files(recipes, model, pool) for model in ("keras2.keras", "keras3.keras", "keras3.keras"))
    assert len(first) == len(VARIANTS)
    assert first == again == files(recipes, "keras3.keras", None)


def files(recipes: Recipes, model: str, pool: WorkerPool | None) -> dict[str, bytes]:
    recipe = load(recipes.write(model, VARIANTS))
    result = run(recipe, Settings(jobs=1, pool=pool))
    return {
        variant.name: (recipe.output / f"{recipe.name}-{variant.name}.tflite").read_bytes()
        for variant in result.variants
        if variant.file
    }

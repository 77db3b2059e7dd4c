from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import pytest
import tasks
from waiting import until

from tflq.errors import ConversionError, DatasetError
from tflq.worker import Budget, Done, Event, Failed, Finished, LogText, Progress, Started, Task, Workers


class Company:
    """Workers, what they told, and the processes that sleep among them."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.log = folder, folder / "log"
        self.events: list[Event] = []

    def hire(self, timeout: float | None = None) -> Workers:
        return Workers(self.log, timeout, self.events.append)

    def sleepers(self) -> list[int]:
        return [int(path.name) for path in self.folder.iterdir() if path.name.isdecimal()]


@pytest.fixture
def company(tmp_path: Path) -> Company:
    return Company(tmp_path)


@pytest.fixture
def workers(company: Company) -> Iterator[Workers]:
    with company.hire() as workers:
        yield workers


def task(function: Callable[..., Any], *arguments: object, stage: str = "work", remedy: str = "") -> Task[Any]:
    return Task(stage, function, arguments, ConversionError, remedy)


def is_alive(process: int) -> bool:
    """Whether the process runs; one that is dead and not yet asked for does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_value_comes_back(workers: Workers, company: Company) -> None:
    done = workers.run(task(tasks.add, 2, 3))
    assert done.value == 5
    started, said, finished = company.events
    assert started == Started("work")
    assert said == LogText("=== work\n")
    assert isinstance(finished, Finished)
    assert (finished.stage, finished.failed, finished.seconds) == ("work", False, done.seconds)


def test_progress_is_told_but_not_every_bit_of_it(workers: Workers, company: Company) -> None:
    workers.run(task(tasks.count, 10_000))
    told = [event for event in company.events if isinstance(event, Progress)]
    assert told[-1] == Progress("work", 10_000, 10_000)
    assert len(told) < 20


@pytest.mark.parametrize(
    ("function", "arguments", "message"),
    [
        (tasks.fail, ("1 / 0\n is  odd",), "work: ZeroDivisionError: 1 / 0 is odd"),
        (tasks.fail, ("",), "work: ZeroDivisionError"),
        (tasks.fail, ("caf\udce9.png",), "work: ZeroDivisionError: caf\udce9.png"),  # the name of a file from elsewhere
        (tasks.fail, ("x" * 600,), f"work: ZeroDivisionError: {'x' * 500} …"),
        (tasks.exit_python, (), "work: SystemExit: enough"),
        (tasks.return_what_cannot_travel, (), "work: TypeError: cannot pickle '_thread.lock' object"),
    ],
)
def test_an_exception_becomes_the_error_of_the_task(
    function: Callable[..., object], arguments: tuple[str, ...], message: str, workers: Workers, company: Company
) -> None:
    with pytest.raises(ConversionError) as error:
        workers.run(task(function, *arguments, remedy="try less"))
    assert str(error.value) == message
    assert company.log.read_text(encoding="utf-8").startswith("=== work\nTraceback (most recent call last):\n")
    assert isinstance(company.events[-1], Finished)
    assert company.events[-1].failed


def test_an_error_that_explains_itself_is_passed_as_it_is(workers: Workers) -> None:
    with pytest.raises(DatasetError, match=r"^data\.npz: holds no rows$"):
        workers.run(task(tasks.refuse))


def test_an_error_leaves_its_cause_behind(workers: Workers) -> None:
    """The cause may be of a class that only importing TensorFlow would bring."""
    with pytest.raises(DatasetError) as error:
        workers.run(task(tasks.refuse_for_a_cause))
    assert error.value.__cause__ is None
    assert error.value.__context__ is None


LAST_LINES = "the log's last lines are the best clue to the cause"


@pytest.mark.parametrize(
    ("function", "number", "cause"),
    [
        (tasks.signal_itself, signal.SIGSEGV, f"the worker process crashed with SIGSEGV; {LAST_LINES}"),
        (tasks.signal_itself, signal.SIGABRT, f"the worker process crashed with SIGABRT; {LAST_LINES}"),
        (
            tasks.signal_itself,
            signal.SIGKILL,
            "the worker process was killed (SIGKILL); the usual cause is that memory ran out",
        ),
        (tasks.exit_at_once, 3, "the worker process ended by itself, with exit code 3 and no result"),
        (tasks.exit_at_once, 0, "the worker process ended by itself, with exit code 0 and no result"),
    ],
)
def test_a_death_becomes_an_error_that_says_where_to_look(
    function: Callable[..., object], number: int, cause: str, workers: Workers, company: Company
) -> None:
    with pytest.raises(ConversionError) as error:
        workers.run(task(function, int(number), remedy="try less"))
    assert str(error.value) == f"work: {cause}; try less (log: {company.log})"


def test_workers_of_other_threads_leave_the_exit_code(tmp_path: Path) -> None:
    """An exit code can be read once, and whoever starts a process asks after those of all threads."""
    said: list[str] = []

    def run(log: Path) -> None:
        with Workers(log, None, lambda _: None) as workers:
            outcomes = workers.run_all([task(tasks.exit_at_once, 3)] * 30, jobs=3)
        said.extend(str(outcome.error) for outcome in outcomes if isinstance(outcome, Failed))

    threads = [threading.Thread(target=run, args=(tmp_path / f"log{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [text for text in said if "exit code 3" in text] == said
    assert len(said) == 120


def test_a_crash_leaves_its_place_in_the_log(workers: Workers, company: Company) -> None:
    with pytest.raises(ConversionError):
        workers.run(task(tasks.signal_itself, int(signal.SIGSEGV)))
    assert "Fatal Python error: Segmentation fault" in company.log.read_text()
    assert "in signal_itself" in company.log.read_text()


def test_a_death_in_the_midst_of_the_answer(company: Company) -> None:
    def listen(event: Event) -> None:
        if isinstance(event, Progress):
            until(lambda: not is_alive(int(event.note)))

    with Workers(company.log, None, listen) as workers, pytest.raises(ConversionError, match="was killed"):
        workers.run(task(tasks.die_while_it_sends))


LIMITS = (1.5, 6, 24, 96, 384)
"""Seconds that a task may take. A busy machine needs the later ones until the task has even begun."""


def test_a_task_that_takes_too_long_is_stopped(company: Company) -> None:
    for limit in LIMITS:
        with company.hire(timeout=limit) as workers:
            said = rf"^work: not done after {limit:g} s, so it was stopped; --timeout raises"
            with pytest.raises(ConversionError, match=said):
                workers.run(task(tasks.sleep, company.folder))
            assert not any(is_alive(sleeper) for sleeper in company.sleepers())
        if company.sleepers():
            break
    assert len(company.sleepers()) == 1


def test_a_worker_that_is_killed_from_outside(workers: Workers, company: Company) -> None:
    def kill() -> None:
        until(company.sleepers)
        os.kill(company.sleepers()[0], signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    with pytest.raises(ConversionError, match="was killed"):
        workers.run(task(tasks.sleep, company.folder))
    killer.join()


def test_output_goes_to_the_log_and_to_the_listener_alone(
    workers: Workers, company: Company, capfd: pytest.CaptureFixture[str]
) -> None:
    workers.run(task(tasks.say, "good day"))
    lines = company.log.read_text().splitlines()
    assert lines[0] == "=== work"
    kinds = ["to stdout", "to stderr", "from below", "from a child of it"]
    assert sorted(lines[1:]) == sorted(f"good day {kind}" for kind in kinds)
    said = "".join(event.text for event in company.events if isinstance(event, LogText))
    assert said == company.log.read_text()
    assert capfd.readouterr() == ("", "")


def test_workers_append_to_a_log_and_tell_only_what_is_new(company: Company) -> None:
    company.log.write_text("of another day\n")
    with company.hire() as workers:
        workers.run(task(tasks.say, "hello", stage="greet \udcff"))
    assert company.log.read_text().startswith("of another day\n=== greet \\udcff\n"), "the name of a file is not UTF-8"
    assert not [event for event in company.events if isinstance(event, LogText) and "another day" in event.text]


def said_when_read_twice(company: Company, text: bytes, cut: int) -> str:
    """What the listener gets of a text of which the first `cut` bytes are read before the others are written."""
    heard = company.folder / "heard"

    def listen(event: Event) -> None:
        company.events.append(event)
        if sum(isinstance(event, Progress) for event in company.events) == 2:  # after the first the log was read
            heard.touch()

    with Workers(company.log, None, listen) as workers:
        workers.run(task(tasks.say_in_two_parts, text, cut, heard))
    return "".join(event.text for event in company.events if isinstance(event, LogText)).removeprefix("=== work\n")


@pytest.mark.parametrize("cut", [1, 2, 3])
def test_a_character_that_is_read_in_two_parts_is_whole(company: Company, cut: int) -> None:
    assert said_when_read_twice(company, "🙂 done\n".encode(), cut) == "🙂 done\n"


def test_a_character_that_is_never_finished_is_replaced(company: Company) -> None:
    assert said_when_read_twice(company, b"done \xf0\x9f", 6) == "done \N{REPLACEMENT CHARACTER}"


def test_all_are_run_in_order_whatever_becomes_of_each(workers: Workers) -> None:
    outcomes = workers.run_all(
        [
            task(tasks.add, 1, 1),
            task(tasks.fail, "odd"),
            task(tasks.exit_at_once, 1),
            task(tasks.refuse),
            task(tasks.add, 2, 2),
        ],
        jobs=2,
    )
    assert [outcome.value if isinstance(outcome, Done) else type(outcome.error) for outcome in outcomes] == [
        2,
        ConversionError,
        ConversionError,
        DatasetError,
        4,
    ]
    assert workers.run_all([], jobs=2) == []


@pytest.mark.parametrize("jobs", [1, 2])
def test_no_more_run_at_a_time_than_told(jobs: int, workers: Workers, company: Company) -> None:
    workers.run_all([task(tasks.add, 1, 1, stage=f"add {number}") for number in range(4)], jobs)
    running = most = 0
    for event in company.events:
        running += isinstance(event, Started) - isinstance(event, Finished)
        most = max(most, running)
    assert most == jobs


def test_leaving_the_context_ends_what_runs(company: Company) -> None:
    def interrupt(event: Event) -> None:
        if len(company.sleepers()) == 2:
            raise KeyboardInterrupt

    sleepers = [task(tasks.sleep, company.folder), task(tasks.say, "hello"), task(tasks.sleep, company.folder)]
    with pytest.raises(KeyboardInterrupt), Workers(company.log, None, interrupt) as workers:
        workers.run_all([*sleepers, *[task(tasks.add, 1, 1)] * 50], jobs=3)
    assert len(company.sleepers()) == 2
    assert not [process for process in company.sleepers() if is_alive(process)]


def test_an_interrupt_while_a_worker_starts_leaves_no_process_behind(
    company: Company, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fork server has started the process, and has not told its number yet; on a busy machine that takes long."""
    told: list[int] = []  # by the fork server: the number of the process, then its exit code
    read = forkserver.read_signed

    def interrupted(channel: int) -> int:
        if not told:
            signal.raise_signal(signal.SIGINT)
        told.append(read(channel))
        return told[-1]

    monkeypatch.setattr(forkserver, "read_signed", interrupted)
    with pytest.raises(KeyboardInterrupt), company.hire() as workers:
        workers.run(task(tasks.sleep, company.folder))
    assert not is_alive(told[0])


SLEEPING_PARENT = """
import sys
from pathlib import Path
import tasks
from waiting import until
from tflq.errors import ConversionError
from tflq.worker import Task, Workers

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    with Workers(folder / "log", None, print) as workers:
        workers.run(Task("sleep", tasks.sleep, (folder,), ConversionError))
"""


def test_a_worker_ends_with_its_parent(company: Company) -> None:
    script = company.folder / "script.py"
    script.write_text(SLEEPING_PARENT)
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent)}
    with subprocess.Popen([sys.executable, script, company.folder], env=environment) as parent:
        try:
            until(company.sleepers)
            assert is_alive(company.sleepers()[0])
        finally:
            parent.kill()
    until(lambda: not is_alive(company.sleepers()[0]))


def test_the_interrupt_key_is_left_to_the_parent(workers: Workers, company: Company) -> None:
    def interrupt() -> None:
        until(company.sleepers)
        (sleeper,) = company.sleepers()
        os.kill(sleeper, signal.SIGINT)
        time.sleep(0.3)
        company.folder.joinpath("alive").write_text(str(is_alive(sleeper)))
        os.kill(sleeper, signal.SIGKILL)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(ConversionError, match="was killed"):
        workers.run(task(tasks.sleep, company.folder))
    thread.join()
    assert company.folder.joinpath("alive").read_text() == "True"


def test_peak_memory_is_that_of_the_largest(workers: Workers) -> None:
    small, large = (workers.run(task(tasks.allocate, megabytes)) for megabytes in (1, 300))
    assert 300_000_000 < large.peak_rss_bytes - small.peak_rss_bytes + 50_000_000 < 400_000_000
    assert workers.peak_rss_bytes == large.peak_rss_bytes


def test_workers_have_tensorflows_settings(workers: Workers) -> None:
    assert workers.run(task(tasks.environment, "TF_ENABLE_ONEDNN_OPTS")).value == "0"
    assert workers.run(task(tasks.environment, "CUDA_VISIBLE_DEVICES")).value == "-1"


def test_temporary_files_are_gone_with_the_workers(company: Company) -> None:
    with company.hire() as workers:
        left = Path(workers.run(task(tasks.litter)).value)
        assert left.exists()
    assert not left.parent.exists()


def test_outcomes_are_values(workers: Workers) -> None:
    (outcome,) = workers.run_all([task(tasks.fail, "odd")], jobs=1)
    assert isinstance(outcome, Failed)
    assert outcome.seconds > 0


def test_all_tasks_together_may_take_a_time(company: Company) -> None:
    for limit in LIMITS:
        with Workers(company.log, None, company.events.append, Budget(seconds=limit)) as workers:
            outcomes = workers.run_all([task(tasks.add, 2, 3), task(tasks.sleep, company.folder)], jobs=1)
        if isinstance(outcomes[0], Done):
            break
    assert isinstance(outcomes[0], Done)
    assert outcomes[0].value == 5
    assert isinstance(outcomes[1], Failed)
    assert str(outcomes[1].error).startswith(f"work: this model took longer than its limit of {limit:g} s")
    assert outcomes[1].error.may_pass


def test_all_processes_together_may_take_memory(company: Company) -> None:
    stopped = company.folder / "stopped"

    def listen(event: Event) -> None:
        if isinstance(event, Finished) and event.stage == "hold 1200":
            stopped.touch()

    both = [
        task(tasks.hold, 100, company.folder, stopped, stage="hold 100"),
        task(tasks.hold, 1200, company.folder, company.folder / "never", stage="hold 1200"),
    ]
    with Workers(company.log, None, listen, Budget(memory_bytes=1_200_000_000)) as workers:
        small, large = workers.run_all(both, jobs=2)
    assert isinstance(large, Failed)
    assert str(large.error).startswith("hold 1200: its processes took 1.")
    assert "more than the limit of 1.20 GB for this model, so it was stopped; --memory raises" in str(large.error)
    assert isinstance(small, Done)
    assert small.value == 100
    until(lambda: not any(is_alive(process) for process in company.sleepers()))


def test_another_thread_may_stop_it(company: Company) -> None:
    stop = threading.Event()
    threading.Timer(1, stop.set).start()
    with (
        pytest.raises(CancelledError),
        Workers(company.log, None, company.events.append, Budget(stop=stop)) as workers,
    ):
        workers.run(task(tasks.sleep, company.folder))
    until(lambda: not any(is_alive(process) for process in company.sleepers()))


def test_a_death_may_pass_but_not_a_refusal(workers: Workers) -> None:
    with pytest.raises(ConversionError) as death:
        workers.run(task(tasks.signal_itself, int(signal.SIGKILL)))
    with pytest.raises(DatasetError) as refusal:
        workers.run(task(tasks.refuse))
    assert (death.value.may_pass, refusal.value.may_pass) == (True, False)


LEGACY = {"TF_USE_LEGACY_KERAS": "1"}


def test_task_with_an_environment_has_a_process_without_tensorflow(company: Company) -> None:
    with company.hire() as workers:
        task = Task("train", tasks.tell, ("epoch 1",), ConversionError, environment=LEGACY)
        variable, has_tensorflow, process = workers.run(task).value
    assert (variable, has_tensorflow) == ("1", False)
    assert process != os.getpid()
    assert "TF_USE_LEGACY_KERAS" not in os.environ
    assert Progress("train", 1, 1, "epoch 1") in company.events
    assert [type(event) for event in company.events][-1] is Finished


@pytest.mark.parametrize(
    ("function", "arguments", "said"),
    [
        (tasks.fail, ("boom",), "train: ZeroDivisionError: boom"),
        (tasks.signal_itself, (signal.SIGSEGV,), "train: the worker process crashed with SIGSEGV"),
        (tasks.exit_at_once, (3,), "train: the worker process ended by itself, with exit code 3"),
    ],
)
def test_its_failures_are_told_like_any_other(
    company: Company, function: Callable[..., Any], arguments: tuple[Any, ...], said: str
) -> None:
    with company.hire() as workers, pytest.raises(ConversionError) as error:
        workers.run(Task("train", function, arguments, ConversionError, environment=LEGACY))
    assert str(error.value).startswith(said)


def test_the_environment_of_the_caller_is_as_before(company: Company, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TF_USE_LEGACY_KERAS", "0")
    with company.hire() as workers:
        told = workers.run(Task("train", tasks.tell, ("",), ConversionError, environment=LEGACY)).value
    assert told[0] == "1"
    assert os.environ["TF_USE_LEGACY_KERAS"] == "0"


def test_processors_are_those_that_may_be_used() -> None:
    """As in a container, or under taskset."""
    allowed = min(os.sched_getaffinity(0))
    code = (
        f"import os; os.sched_setaffinity(0, {{{allowed}}}); from tflq.pipeline import Settings; print(Settings().jobs)"
    )
    made = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert made.stdout == "1\n"


def test_a_task_in_the_background_takes_a_process_that_others_leave_idle(workers: Workers, company: Company) -> None:
    heard = company.folder / "heard"
    background = workers.run_in_background(task(tasks.touch, heard))
    waiting = task(tasks.say_in_two_parts, b"both parts\n", 5, heard, stage="wait")
    first, second = workers.run_all([waiting, task(tasks.add, 1, 2)], jobs=2)
    assert (first.get(), second.get()) == (None, 3)
    (outcome,) = workers.results([background], jobs=2)
    assert outcome.get() == heard
    assert [event.stage for event in company.events if isinstance(event, Started)].count("work") == 2


def test_a_task_in_the_background_waits_if_one_process_runs_at_a_time(workers: Workers, company: Company) -> None:
    heard = company.folder / "heard"
    background = workers.run_in_background(task(tasks.touch, heard))
    assert [outcome.get() for outcome in workers.run_all([task(tasks.add, 1, 1)] * 3, jobs=1)] == [2, 2, 2]
    assert not heard.exists()
    (outcome,) = workers.results([background], jobs=1)
    assert outcome.get() == heard


def test_a_crash_in_the_background_is_the_outcome_of_that_task_alone(workers: Workers) -> None:
    crashing = workers.run_in_background(task(tasks.signal_itself, signal.SIGSEGV, stage="crash"))
    others = [workers.run_in_background(task(tasks.add, number, 1)) for number in range(3)]
    assert [outcome.get() for outcome in workers.run_all([task(tasks.add, 5, 5)] * 3, jobs=2)] == [10, 10, 10]
    failed, *done = workers.results([crashing, *others], jobs=2)
    assert isinstance(failed, Failed)
    assert str(failed.error).startswith("crash: the worker process crashed with SIGSEGV")
    assert [outcome.get() for outcome in done] == [1, 2, 3]


def test_a_task_in_the_background_is_killed_with_the_others(company: Company) -> None:
    with company.hire() as workers:
        workers.run_in_background(task(tasks.sleep, company.folder))
        workers.run_all([task(tasks.add, 1, 1), task(tasks.wait_for_sleeper, company.folder)], jobs=2)
    (sleeper,) = company.sleepers()
    assert not is_alive(sleeper)

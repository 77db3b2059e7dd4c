"""`tflq batch` where nothing needs to be converted: what it skips, lists, refuses and writes."""

from __future__ import annotations

import html
import json
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from batching import CODE, pretend
from click.testing import CliRunner, Result
from results import BROKEN, ERROR, FAILED_GATE, FLOAT32, RESULT
from waiting import PATIENCE

from tflq import batch as batches
from tflq.batch import BatchOptions, BatchPlanned, ModelFinished, ModelProgress, ModelStarted, cluster_client, local
from tflq.batch import attempt as attempts
from tflq.batch.attempt import ModelAttempt, ModelLimits, attempt
from tflq.batch.summary import Model
from tflq.cli import main
from tflq.cli.batch_lines import outcome
from tflq.cli.live import LiveTable
from tflq.errors import ConversionError, DatasetError, SourceError
from tflq.recipe import Recipe
from tflq.report.json_report import to_json
from tflq.result import Result as ProgressCallback
from tflq.worker import Finished, Progress, Started, WorkerPool

FINE = replace(RESULT, variants=(FLOAT32,))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A zoo of three models that nobody will read."""
    for name in ("one", "two", "three"):
        (tmp_path / "models" / name).mkdir(parents=True)
        (tmp_path / "models" / name / "saved_model.pb").touch()
    np.savez(tmp_path / "data.npz", x=np.zeros(3))
    zoo = "kind: zoo\ndefaults: {mode: int8, calibration: {dataset: {npz: data.npz}}}\nmodels: ['models/*']\n"
    (tmp_path / "zoo.yaml").write_text(zoo)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def tflq(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["batch", *arguments], prog_name="tflq")


def summary() -> Any:
    return json.loads(Path("build/summary.json").read_text())


def test_what_is_up_to_date_is_skipped(folder: Path) -> None:
    pretend(folder / "zoo.yaml", FINE)
    said = tflq("zoo.yaml")
    assert said.exit_code == 0, said.output
    assert {model["state"] for model in summary()["models"]} == {"up to date"}
    assert "Models: 3 up to date. Variants: 3 ok" in said.output
    assert "one: up to date: 1 ok\n" in said.stderr  # without the seconds of the run before
    assert Path("build/summary.md").read_text().startswith("# All models passed\n")


@pytest.mark.parametrize(("variant", "code"), [(FAILED_GATE, 1), (BROKEN, 6)])
def test_what_failed_a_gate_or_broke_its_contract_is_not_made_again_but_counts(
    folder: Path, variant: Any, code: int
) -> None:
    pretend(folder / "zoo.yaml", replace(RESULT, variants=(FLOAT32, variant)))
    said = tflq("zoo.yaml", "--only", "one")
    assert said.exit_code == summary()["exit_code"] == code
    assert [model["state"] for model in summary()["models"]] == ["up to date"]
    assert f"one {variant.name}: " in said.output


def test_a_dry_run_says_what_and_why_and_writes_nothing(folder: Path) -> None:
    pretend(folder / "zoo.yaml", FINE)
    (folder / "models/two/saved_model.pb").write_bytes(b"other")
    said = tflq("zoo.yaml", "--dry-run")
    assert said.exit_code == 0
    assert said.output.splitlines() == [
        "one: up to date",
        "three: up to date",
        "two: int8 in build/two: the input changed: ../../models/two/saved_model.pb",
    ]
    assert not Path("build/summary.json").exists()


def test_a_dry_run_tells_wrong_recipes(folder: Path) -> None:
    (folder / "zoo.yaml").write_text(
        "kind: zoo\nmodels:\n- {model: models/one, mode: in8}\n- {model: models/two, mode: dynamic}\n"
    )
    said = tflq("zoo.yaml", "-n")
    assert said.exit_code == 2
    first, second = said.output.splitlines()
    assert first.startswith("one: cannot be converted: zoo.yaml:3: mode: 'in8' is not one of")
    assert second == "two: dynamic in build/two: never made by a batch"


WATCHED = """
import atexit, collections, json, os, sys
opened, started = collections.Counter(), []
def watch(event, arguments):
    if event == "open" and isinstance(arguments[0], str) and "r" in (arguments[1] or ""):
        opened[os.path.relpath(arguments[0])] += 1
    elif event in ("subprocess.Popen", "os.fork", "os.posix_spawn", "socket.bind"):
        started.append(event)
def tell():
    found = {"opened": dict(opened), "started": list(started), "modules": list(sys.modules)}
    with open("watched.json", "w") as file:
        json.dump(found, file)
atexit.register(tell)
sys.addaudithook(watch)
"""
"""What goes before code whose files, processes and modules are to be told in watched.json."""


def test_a_hundred_up_to_date_are_read_once_without_tensorflow(folder: Path) -> None:
    """`python -m benchmarks skip` says how long that takes."""
    for number in range(100):
        text = f"model: models/one\nname: net{number}\nvariants: [float32, int8]\ngates: {{min_sqnr_db: 20}}\n"
        more = "calibration: {dataset: {npz: data.npz}}\ninputs: {x: {scale: 0.5, offset: 1}}\n"
        (folder / f"net{number}.yaml").write_text(text + more)
    (folder / "zoo.yaml").unlink()
    pretend(folder, FINE)
    command = [sys.executable, "-c", f"{WATCHED}\n{CODE}", "batch", "."]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "Models: 100 up to date" in ran.stdout
    watched = json.loads(Path("watched.json").read_text())
    assert not {"tensorflow", "tensorflow_datasets", "keras", "tf_keras"} & set(watched["modules"])
    assert watched["started"] == []
    opened = {Path(path): times for path, times in watched["opened"].items() if not path.startswith("..")}
    assert {opened.get(Path(f"net{number}.yaml")) for number in range(100)} == {1}
    assert max(opened.values()) <= 2  # a report is also hashed where it was written a moment ago


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["zoo.yaml", "--only", "none"], "error: --only none: no model has this name (did you mean 'one'?)"),
        (["nowhere.yaml"], "error: nowhere.yaml: this file or folder does not exist"),
        (["zoo.yaml", "--tolerance", "size=0.1"], "error: --tolerance needs --baseline"),
        (["zoo.yaml", "--memory", "lots"], "'lots' is not a size; write a size such as 500MB or 4GB"),
        (["zoo.yaml", "--baseline", "zoo.yaml"], "error: zoo.yaml: this file is not a summary.json of tflq batch"),
        (["zoo.yaml", "--scheduler", "tcp://127.0.0.1:1"], "error: --scheduler tcp://127.0.0.1:1: no Dask scheduler"),
    ],
)
def test_what_is_refused(folder: Path, arguments: list[str], words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_client, "SECONDS_TO_CONNECT", 1)
    said = tflq(*arguments)
    assert said.exit_code == 2
    assert words in said.output
    assert "Traceback" not in said.output


def test_a_baseline_may_be_the_summary_that_is_replaced(folder: Path) -> None:
    pretend(folder / "zoo.yaml", FINE)
    assert tflq("zoo.yaml").exit_code == 0
    pretend(
        folder / "zoo.yaml",
        replace(RESULT, variants=(replace(FLOAT32, file=replace(FLOAT32.file, size_bytes=200_000)),)),
    )
    said = tflq("zoo.yaml", "--baseline", "build/summary.json", "--junit", "junit.xml")
    assert said.exit_code == 1
    assert "regression: one float32: larger: 200.0 kB, was 108.1 kB (+85.1%)" in said.output
    assert "float32 against baseline" in Path("junit.xml").read_text()
    assert tflq("zoo.yaml", "--baseline", "build/summary.json").exit_code == 0


def test_json_lines(folder: Path) -> None:
    pretend(folder / "zoo.yaml", FINE)
    events = [json.loads(line) for line in tflq("zoo.yaml", "--format", "json").output.splitlines()]
    assert [event["event"] for event in events] == ["planned", "ended", "ended", "ended", "end"]
    assert events[0] == {"event": "planned", "models": 3, "stale": 0}
    assert (events[-1]["exit_code"], events[-1]["summary"]) == (0, "build/summary.json")


def test_summary_goes_where_it_is_asked_for(folder: Path) -> None:
    pretend(folder / "zoo.yaml", FINE)
    tflq("zoo.yaml", "--summary", "there/deep", "--depfile", "there/zoo.d")
    assert {path.name for path in Path("there").rglob("*.*")} == {"summary.html", "summary.json", "summary.md", "zoo.d"}


class Makers:
    """Stands for the making of models, which takes what each test says."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, outcomes: dict[str, Any]) -> None:
        self.outcomes = outcomes
        self.made: list[str] = []
        monkeypatch.setattr(batches.local, "attempt", self.attempt)
        monkeypatch.setattr(batches.local, "preload_tensorflow", lambda: None)

    def attempt(
        self, recipe: Recipe, _limits: ModelLimits, _tell: Any, stop: threading.Event, _pool: WorkerPool
    ) -> ModelAttempt:
        self.made.append(recipe.name)
        outcome = self.outcomes.get(recipe.name, FINE)
        if callable(outcome):
            outcome(stop)
        if isinstance(outcome, ProgressCallback):
            recipe.output.mkdir(parents=True, exist_ok=True)
            (recipe.output / "report.json").write_text(to_json(outcome))
        return ModelAttempt(outcome, 1.0)


def test_a_failure_does_not_keep_others_from_being_made(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    makers = Makers(monkeypatch, {"one": ConversionError("convert int8: it crashed")})
    said = tflq("zoo.yaml", "--jobs", "1")
    assert said.exit_code == 5
    assert makers.made == ["one", "three", "two"]
    assert "one: convert int8: it crashed" in said.output
    assert tflq("zoo.yaml", "--jobs", "1").exit_code == 5
    assert makers.made == ["one", "three", "two", "one"]


def test_each_error_has_the_file_and_the_line_of_its_key(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "zoo.yaml").write_text(
        "kind: zoo\ndefaults:\n  calibration:\n    dataset: {npz: data.npz}\nmodels:\n"
        "- {model: models/one, mode: int8}\n"
        "- model: models/two\n  variants:\n  - mode: float16\n  - mode: int8\n    keep_float: [NOPE]\n"
        "- model: models/three\n  mode: int16x8\n- {model: models/one, name: four, mode: int8}\n"
    )
    of_variant = replace(ERROR, name="int8", error=ConversionError("keep_float: 'NOPE' names no op"))
    outcomes = {
        "one": SourceError("models/one: is not a SavedModel"),
        "two": replace(RESULT, variants=(FLOAT32, of_variant)),
        "three": DatasetError("data.npz: is damaged"),
        "four": ConversionError("convert: the worker process crashed"),
    }
    Makers(monkeypatch, outcomes)
    said = tflq("zoo.yaml", "--junit", "junit.xml")
    expected = [
        "zoo.yaml:6: models/one: is not a SavedModel",
        "zoo.yaml:11: keep_float: 'NOPE' names no op",
        "zoo.yaml:4: data.npz: is damaged",
        "convert: the worker process crashed",
    ]
    told = {model["name"]: model["variants"][-1:] or [model] for model in summary()["models"]}
    reasons = {name: rows[0]["why"] for name, rows in told.items()}
    assert [reasons[name] for name in outcomes] == expected
    for text in (said.output, html.unescape(Path("junit.xml").read_text())):
        assert [reason for reason in expected if reason not in text] == []
    assert [reason for reason in expected if reason not in Path("build/summary.md").read_text()] == []


def test_fail_fast_reaches_no_more(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def wait(stop: threading.Event) -> None:
        assert stop.wait(PATIENCE)
        raise KeyError("stopped")

    makers = Makers(monkeypatch, {"one": ConversionError("it crashed"), "three": wait})
    assert tflq("zoo.yaml", "--jobs", "2", "--fail-fast").exit_code == 5
    assert "two" not in makers.made
    assert [model["state"] for model in summary()["models"]] == ["failed", "not reached", "not reached"]
    assert "another model failed" in summary()["models"][1]["why"]


def test_what_nobody_foresaw_costs_one_model(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: threading.Event) -> None:
        raise KeyError("nobody foresaw this")

    Makers(monkeypatch, {"three": fail})
    (folder / "build/three").mkdir(parents=True)
    said = tflq("zoo.yaml")
    assert said.exit_code == 70
    states = {model["name"]: model["state"] for model in summary()["models"]}
    assert states == {"one": "made", "three": "failed", "two": "made"}
    log = Path("build/three/tflq.log")
    assert "this is an error in tflq: KeyError: 'nobody foresaw this'; the log is at " in said.output
    assert str(log) in said.output
    assert "Traceback" in (folder / "build/three/tflq.log").read_text()


def test_an_interruption_ends_with_a_summary(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Makers(monkeypatch, {})
    heard: list[Any] = []

    def interrupt(happening: Any) -> None:
        heard.append(happening)
        if isinstance(happening, ModelFinished):
            raise KeyboardInterrupt

    found = batches.collect([Path("zoo.yaml")])
    made = batches.make(found, BatchOptions(jobs=1), interrupt)
    assert made.exit_code == 130
    assert [model.state for model in made.models].count("not reached") == 2
    assert isinstance(heard[0], BatchPlanned)


def test_models_share_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "available_bytes", lambda: 10 * 10**9)
    assert local.share(2, None) == (2, 5 * 10**9)
    assert local.share(16, None) == (5, 2 * 10**9)
    assert local.share(16, 4 * 10**9) == (2, 4 * 10**9)
    assert local.share(4, 20 * 10**9) == (1, 20 * 10**9)
    assert local.share(4, 10**9) == (4, 10**9)
    monkeypatch.undo()
    assert local.available_bytes() > 10**8


def test_retries_are_for_what_may_pass(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tries: list[str] = []
    died, wrong = ConversionError("it crashed"), ConversionError("no such op")
    died.may_pass = True

    def run(recipe: Recipe, settings: Any) -> ProgressCallback:
        tries.append(recipe.name)
        error = {"one": died, "two": wrong}.get(recipe.name)
        if error:
            raise error
        return FINE

    monkeypatch.setattr(attempts, "run", run)
    limits = ModelLimits(None, None, 1, retries=2)
    for item in batches.collect([Path("zoo.yaml")]).items:
        attempt(item.recipe, limits, lambda _: None, threading.Event())
    assert tries == ["one", "one", "one", "three", "two"]


def test_the_live_table(monkeypatch: pytest.MonkeyPatch) -> None:
    live = LiveTable()
    live(BatchPlanned(3, 2))
    live(ModelFinished(Model("zero", "up to date", "", 0)))
    live(ModelStarted("one", "never made by a batch"))
    live(ModelProgress("one", Started("convert int8")))
    live(ModelProgress("one", Progress("convert int8", 5, 20)))
    live(ModelStarted("two", "never made by a batch"))
    live(ModelProgress("two", Finished("read the source", 1.0, failed=False)))
    live(ModelFinished(Model("two", "failed", "lost", 3)))
    live.console.width, live.console.height = 100, 20
    with live.console.capture() as captured:
        live.console.print(live.table())
    lines = [line.split() for line in captured.get().splitlines()]
    assert [line[0] for line in lines] == ["one", "two", "zero", "all"]
    assert lines[0][1:3] == ["convert", "int8"]
    assert lines[1][1] == "failed"
    assert lines[3][1:4] == ["2", "of", "3"]
    assert "left" in lines[3]


def test_an_outcome_in_a_few_words() -> None:
    assert outcome(Model("net", "up to date", "", 0)) == "up to date"

"""The display of a run: on a terminal, without one, and at its end."""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from results import RESULT
from rich.console import Console
from running import Ran, Recipes

from tflq.batch import BatchPlanned, ModelStarted
from tflq.cli.display import ProgressDisplay, duration
from tflq.cli.live import LiveTable
from tflq.cli.outcome import show
from tflq.cli.time_left import EarlierRun, earlier_run
from tflq.pipeline import Settings, run
from tflq.progress import RunStep, VariantProgress
from tflq.recipe import Recipe, dump, load
from tflq.report.slowest import slowest
from tflq.report.table import size
from tflq.result import Run, Stage
from tflq.worker import Finished, LogText, Progress, Started

EVENTS = [
    RunStep("reading", 1, 3),
    Started("read the source"),
    LogText("TensorFlow says so\n"),
    Finished("read the source", 1.25, failed=False),
    RunStep("converting", 2, 3),
    Started("train"),
    Progress("train", 1, 2, "loss 0.5"),
    Progress("train", 2, 2, "loss 0.5"),
    Finished("train", 2.0, failed=False),
    Finished("convert int16x8", 0.5, failed=True),
    VariantProgress("int8", "34.3 kB", is_final=False),
    VariantProgress("int16x8", "error: it crashed", is_final=True),
    VariantProgress("int8", "34.3 kB, SQNR 39.2 dB", is_final=True),
    VariantProgress("int16x8", "error: it crashed", is_final=True),
]
RUN_LINES = ["int8: 34.3 kB, SQNR 39.2 dB", "int16x8: error: it crashed"]


def displayed(events: list[Any], is_terminal: bool = False, **options: Any) -> tuple[ProgressDisplay, str]:
    """The display after the events, and what it has printed."""
    console = Console(file=io.StringIO(), force_terminal=is_terminal, width=60, height=20, color_system=None)
    options = {"is_verbose": False, "is_silent": False} | options
    display = ProgressDisplay(console, **options)
    with display:
        for event in events:
            (display.watch if isinstance(event, (RunStep, VariantProgress)) else display)(event)
    return display, console.file.getvalue()  # type: ignore[attr-defined]


def live_lines(display: ProgressDisplay) -> list[str]:
    with display.console.capture() as captured:
        display.console.print(display.lines())
    return captured.get().splitlines()


def test_elsewhere_each_variant_is_one_line() -> None:
    """The error of a stage is in that of the variant, or in that of the run."""
    _, printed = displayed(EVENTS)
    assert printed.splitlines() == [
        "train: loss 0.5",
        "int16x8: error: it crashed",
        "int8: 34.3 kB, SQNR 39.2 dB",
    ]


def test_a_long_line_is_not_wrapped() -> None:
    _, printed = displayed([VariantProgress("int8", "error: " + "word " * 30, is_final=True)])
    assert len(printed.splitlines()) == 1


def test_verbose_lists_every_stage_and_the_log() -> None:
    _, printed = displayed(EVENTS, is_verbose=True)
    lines = printed.splitlines()
    assert lines[:2] == ["TensorFlow says so", "read the source: done in 1.2 s"]
    assert "train: done in 2.0 s" in lines
    assert "convert int16x8: failed after 0.5 s" in lines


def test_with_json_nothing_is_printed() -> None:
    for is_terminal in (False, True):
        assert displayed(EVENTS, is_terminal, is_silent=True)[1] == ""


def test_a_terminal_has_a_line_for_the_run_and_one_for_each_variant() -> None:
    display, _ = displayed([*EVENTS, Started("measure, part 1"), Progress("measure, part 1", 3, 8)], is_terminal=True)
    lines = live_lines(display)
    assert lines[0] == "2/3 converting  0:00  measure, part 1 3/8"
    assert lines[1:] == RUN_LINES


def test_the_lines_fit_on_the_terminal() -> None:
    many = [VariantProgress(f"variant-{i}", "figures " * 20, is_final=False) for i in range(50)]
    display, _ = displayed([*many, *(Started(f"a stage with a long name, part {i}") for i in range(5))], True)
    lines = live_lines(display)
    assert (len(lines), max(map(len, lines))) == (19, 60)


def test_a_terminal_is_left_clean() -> None:
    """The last thing written shows the cursor and erases every line of the display."""
    _, printed = displayed(EVENTS, is_terminal=True)
    assert printed.endswith("\x1b[1A\x1b[2K")
    assert printed.count("\x1b[?25l") == printed.count("\x1b[?25h") == 1


def test_long_names_in_the_table_of_a_batch_lose_their_middle() -> None:
    live = LiveTable()
    live(BatchPlanned(1, 1))
    live(ModelStarted("mobilenet_v2_for_photographs_on_the_edge", "never made by a batch"))
    with live.console.capture() as captured:
        live.console.print(live.table())
    assert captured.get().split()[0] == "mobilenet_v2_fo…hs_on_the_edge"


EARLIER = EarlierRun(10.0, {"read": 4.0, "fit": 10.0, "convert": 4.0, "measure": 2.0})
"""Twenty seconds of stages in ten: two processors."""


@pytest.mark.parametrize(
    ("ended", "running", "seconds"),
    [
        (set(), {"read": 1.0}, None),
        ({"another"}, {}, None),
        ({"read"}, {}, 8.0),
        ({"read"}, {"fit": 4.0}, 6.0),
        ({"read"}, {"fit": 40.0}, 3.0),
        ({"read"}, {"convert": 1.0}, 2.5),
        ({"read", "convert"}, {}, 1.0),
        (set(EARLIER.stages), {}, 0.0),
    ],
)
def test_time_left(ended: set[str], running: dict[str, float], seconds: float | None) -> None:
    """Stages that this run skips, as fitting when its result is cached, are not waited for."""
    assert EARLIER.seconds_after(ended, running) == seconds


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tflq.cli.display.MIN_SECONDS", 0.0)


@pytest.mark.usefixtures("at_once")
def test_the_time_left_is_on_the_line() -> None:
    events = [RunStep("reading", 1, 3), Started("read"), Finished("read", 1.0, failed=False)]
    display, _ = displayed(events, True, earlier=EARLIER)
    assert live_lines(display) == ["1/3 reading  0:00 (about 0:08 left)"]


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize(("done", "left"), [(9, ""), (10, " (stage: about 0:00 left)")])
def test_without_an_earlier_run_the_running_stages_tell_how_long_they_take(done: int, left: str) -> None:
    stages = [Started("measure"), Progress("measure", done, 100)]
    display, _ = displayed([RunStep("measuring", 5, 6), *stages], True)
    assert live_lines(display) == [f"5/6 measuring  0:00{left}  measure {done}/100"]
    display(Started("another"))  # which does not tell
    assert "left" not in live_lines(display)[0]


@pytest.mark.usefixtures("at_once")
def test_without_a_terminal_the_line_of_a_note_has_the_time_left() -> None:
    _, printed = displayed(
        [Started("train"), Progress("train", 9, 100, "epoch 1"), Progress("train", 20, 100, "epoch 2")]
    )
    assert printed.splitlines() == ["train: epoch 1", "train: epoch 2 (about 0:00 left)"]


def test_durations() -> None:
    assert [duration(seconds) for seconds in (0.9, 65, 3600)] == ["0:00", "1:05", "60:00"]


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    (tmp_path / "recipe.yaml").write_text(
        "model: net\ncalibration: {dataset: {npz: a.npz}}\nevaluation: {dataset: {npz: b.npz}}\nvariants: [int8]\n"
    )
    return load(tmp_path / "recipe.yaml")


def test_an_earlier_run_counts_if_its_recipe_was_the_same(recipe: Recipe) -> None:
    digest = hashlib.sha256(dump(recipe, recipe.output).encode()).hexdigest()
    report = {"recipe_sha256": digest, "seconds": 10.0, "stages": [{"name": "read", "seconds": 4.0}]}
    recipe.output.mkdir(parents=True)
    file = recipe.output / "report.json"
    assert earlier_run(recipe) is None
    file.write_text(json.dumps(report))
    assert earlier_run(recipe) == EarlierRun(10.0, {"read": 4.0})
    for other in ({"recipe_sha256": "0"}, {"stages": None}, {"stages": [{}]}):
        file.write_text(json.dumps(report | other))
        assert earlier_run(recipe) is None
    file.write_text("[")
    assert earlier_run(recipe) is None


def took(seconds: float, **stages: float) -> Run:
    return Run(seconds, 0, tuple(Stage(name.replace("_", " "), each) for name, each in stages.items()))


@pytest.mark.parametrize(
    ("ran", "text"),
    [
        (took(9.9, time_int8=9.0), ""),
        (took(20, read_the_source=10.0, time_int8=5.0), ""),
        (took(20, train=30.0, time_int8=5.0), ""),
        (took(20, read_the_source=2.0, measure=2.0, select_the_ranges=2.0, convert_int8=2.0), ""),
        (took(20, read_the_source=5.0, time_int8=15.0), "timing took about 15 of 20 s: latency: off leaves it out"),
        (
            took(20, read_the_source=10.0, measure=15.0, measure_the_source=15.0),
            "measuring took about 15 of 20 s: a smaller evaluation.samples shortens it",
        ),
        (
            took(60, compare_int8=10.0, round_the_weights_of_x=10.0, measure=10.0),
            "comparing corrections took about 40 of 60 s: converter.bias_correction: off leaves them out",
        ),
        (took(20), ""),
    ],
)
def test_what_took_longest(recipe: Recipe, ran: Run, text: str) -> None:
    assert slowest(ran, recipe) == text


def test_without_evaluation_the_samples_are_those_of_the_calibration(recipe: Recipe) -> None:
    ran = took(20, measure=15.0)
    alone = recipe.model_copy(update={"evaluation": None})
    assert slowest(ran, alone).endswith("a smaller calibration.samples shortens it")
    assert slowest(ran, alone.model_copy(update={"calibration": None})) == ""


def test_elsewhere_the_result_is_neither_cut_nor_wrapped(recipe: Recipe, capsys: pytest.CaptureFixture[str]) -> None:
    first, *others = RESULT.variants
    name = "a_variant_of_a_long_name" * 5
    show(replace(RESULT, variants=(replace(first, name=name), *others)), recipe, None)
    printed = capsys.readouterr().out.splitlines()
    assert any(line.startswith(f"{name} ") and line.split()[-1] == "ok" for line in printed)
    assert next(line for line in printed if line.startswith("int16x8_only: ")).endswith("leaves such ops in float")


@pytest.fixture(scope="module")
def watched(recipes: Recipes) -> tuple[Ran, list[RunStep | VariantProgress]]:
    """A real run with a file that cannot be made."""
    told: list[RunStep | VariantProgress] = []
    file = recipes.write("with_sin", ["float32", "int8", "int16x8_only"], latency={"runs": 1, "warmup": 0})
    loaded = load(file)
    result = run(loaded, Settings(jobs=2, watch=told.append))
    return Ran(result, loaded.output, ()), told


def test_a_run_tells_its_steps_and_what_is_known_of_its_variants(
    watched: tuple[Ran, list[RunStep | VariantProgress]],
) -> None:
    ran, told = watched
    steps = [event for event in told if isinstance(event, RunStep)]
    names = ["reading", "calibrating", "converting", "checking", "measuring", "timing"]
    assert steps == [RunStep(name, position, 6) for position, name in enumerate(names, 1)]
    final = {event.variant: event.text for event in told if isinstance(event, VariantProgress) and event.is_final}
    assert final["float32"] == f"{size(ran.file('float32').stat().st_size)}, equal outputs"
    assert " dB" in final["int8"]
    assert final["int16x8_only"].endswith("breaks the contract of its mode")


def test_the_names_of_stages_are_known_to_the_advice(watched: tuple[Ran, list[RunStep | VariantProgress]]) -> None:
    ran, _ = watched
    names = [stage.name for stage in ran.result.run.stages]
    prefixes = ("read ", "convert ", "observe the activations", "round the weights of ", "compare ", "measure", "time ")
    for words in prefixes:
        assert any(name.startswith(words) for name in names), words

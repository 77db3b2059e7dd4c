"""The strategy of a search with given measurements, which stand for files that would be slow to find."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tflq.metrics.estimate import Estimate
from tflq.modes import Mode, named
from tflq.search.candidate import Candidate, birge_ratio, seen_spread
from tflq.search.space import METHODS, Space
from tflq.search.state import SearchState
from tflq.search.strategy import FoundTrial, Search
from tflq.trials import (
    CONFIRMATION,
    RANKING,
    SELECTION,
    BudgetExhausted,
    Constraint,
    Measurements,
    OutputFidelity,
    SampleSet,
    Trial,
    TrialResult,
)
from tflq.trials.measurements import FileFacts

SQNR = Constraint("min_sqnr_db", 15.0)
ROWS = 8


def measured(size: int, sqnr: tuple[float, float, float], sha256: str = "", drop: float | None = None) -> Measurements:
    """The measurements of a file of that size. `sqnr`: the value and its interval, in dB."""
    outputs = {"y": OutputFidelity(Estimate(*sqnr), None)}
    file = FileFacts(sha256 or f"{size} {sqnr}", size, 0, float(size))
    dropped = None if drop is None else Estimate(drop, drop - 0.01, drop + 0.01)
    return Measurements(file, outputs, None, dropped, ROWS, "")


Figures = Callable[[Trial, SampleSet], Measurements | None]


@dataclass
class ConstructedRunner:
    """Returns measurements that are made up, within the limit on trials."""

    figures: Figures
    most: int | None = None
    made: list[Trial] = field(default_factory=list)
    """The trials on the selection samples, in their order."""
    confirmed: list[Trial] = field(default_factory=list)

    def run(self, trials: Sequence[Trial], on: SampleSet = SELECTION, reserve: int = 0) -> list[TrialResult]:
        assert on != RANKING
        made = self.confirmed if on == CONFIRMATION else self.made
        for trial in dict.fromkeys(trials):
            if on == CONFIRMATION or trial not in made:
                if on == SELECTION and self.most is not None and len(made) >= self.most - reserve:
                    raise BudgetExhausted
                made.append(trial)
        return [self._result(trial, on) for trial in trials]

    def selection_result(self, trial: Trial) -> TrialResult | None:
        return self._result(trial, SELECTION) if trial in self.made else None

    def _result(self, trial: Trial, on: SampleSet) -> TrialResult:
        figures = self.figures(trial, on)
        return TrialResult(trial, figures, "" if figures else "no file")

    @property
    def count(self) -> int:
        return len(self.made)

    @property
    def limits(self) -> Any:
        return SimpleNamespace(trials=self.most)

    @property
    def evaluations(self) -> Any:
        return {CONFIRMATION: SimpleNamespace(stored=SimpleNamespace(count=ROWS))}

    @property
    def recipe(self) -> Any:
        return SimpleNamespace(measured_on=SimpleNamespace(metric=None, output=None, scored=lambda names: names))

    @property
    def context(self) -> Any:
        return SimpleNamespace(workers=SimpleNamespace(listen=lambda _: None))


@dataclass(frozen=True)
class Outcome:
    found: FoundTrial | None
    runner: ConstructedRunner
    state: SearchState

    @property
    def mode(self) -> str | None:
        return self.found.selection.trial.variant.mode if self.found else None

    @property
    def modes_made(self) -> list[str]:
        return [trial.variant.mode for trial in self.runner.made]

    @property
    def modes_confirmed(self) -> list[str]:
        return [trial.variant.mode for trial in self.runner.confirmed]


def plain(mode: str) -> Mode:
    off = {"bias_correction": "off", "rounding": "off", "equalization": "off", "headroom": 1.0}
    return named(mode).model_copy(update=off)


def find(
    figures: Figures, *modes: str, most: int | None = None, constraints: tuple[Constraint, ...] = (SQNR,)
) -> Outcome:
    """Search in these modes, without ops in float."""
    variants = [plain(mode) for mode in modes]
    families, free = ([one for one in variants if one.needs_ranges is needs] for needs in (True, False))
    space = Space(tuple(families), tuple(free), "minmax", METHODS, frozenset({"keep_float"}))
    runner = ConstructedRunner(figures, most)
    state = SearchState(cast("Any", runner), space, constraints, "size")
    return Outcome(Search(state).find(), runner, state)


def is_plain(trial: Trial) -> bool:
    return trial == Trial(plain(trial.variant.mode), "minmax")


def pose(trial: Trial, on: SampleSet) -> Measurements:
    """One int8 file seems to meet the limit by luck, and all others of int8 are near it. Files of int16x8 meet it."""
    size = 1000 if trial.variant.mode == "int8" else 1200
    if trial.variant.mode == "int16x8":
        return measured(size, (19.5, 17.5, 21.0) if on == SELECTION else (18.9, 17.0, 20.5))
    if on == CONFIRMATION:
        return measured(size, (-9.9, -15.0, 14.0))
    return measured(size, (15.0, 11.0, 18.0) if is_plain(trial) else (14.0, 10.0, 17.0))


def test_a_refuted_candidate_does_not_hide_another_mode() -> None:
    outcome = find(pose, "int8", "int16x8")
    assert outcome.mode == "int16x8"
    assert [one.selection.trial.variant.mode for one in outcome.state.refuted] == ["int8"]
    assert outcome.modes_confirmed == ["int8", "int16x8"]


def test_what_meets_by_the_widest_margin_is_confirmed_though_the_spread_hides_it() -> None:
    """After the refuted file, nothing meets the limit with the margin for the spread."""

    def figures(trial: Trial, on: SampleSet) -> Measurements:
        if trial.variant.mode == "int16x8" and on == SELECTION:
            return measured(1200, (19.5, 12.0, 25.0) if is_plain(trial) else (16.0, 9.0, 22.0))
        return pose(trial, on)

    outcome = find(figures, "int8", "int16x8")
    assert outcome.mode == "int16x8"
    assert outcome.found is not None
    assert is_plain(outcome.found.selection.trial)
    assert len(outcome.state.refuted) == 1
    assert not outcome.state.meets(outcome.found.selection)


def test_the_widest_margin_is_looked_for_below_the_bound_too() -> None:
    def figures(trial: Trial, on: SampleSet) -> Measurements:
        mode = trial.variant.mode
        return measured(1210, (19.5, 12.0, 25.0)) if mode == "int16x8" else pose(trial, on)

    def with_float16(trial: Trial, on: SampleSet) -> Measurements:
        return sized(trial, on) if trial.variant.mode == "float16" else figures(trial, on)

    outcome = find(with_float16, "int8", "int16x8", "float16")
    assert outcome.modes_confirmed == ["float16", "int8", "int16x8"]
    assert outcome.mode == "int16x8"


def test_after_the_widest_margin_smaller_files_follow() -> None:
    """The file per tensor is smaller, and the spread hides it as well."""

    def figures(trial: Trial, on: SampleSet) -> Measurements:
        if trial.variant.mode == "int8":
            return pose(trial, on)
        return measured(1200, (19.5, 12.0, 25.0)) if trial.variant.per_channel else measured(1100, (18.0, 10.0, 25.0))

    outcome = find(figures, "int8", "int16x8")
    assert outcome.modes_confirmed == ["int8", "int16x8", "int16x8"]
    assert outcome.found is not None
    assert not outcome.found.selection.trial.variant.per_channel
    (ablation,) = outcome.found.ablations
    assert (ablation.change.key, ablation.is_met) == ("per_channel", True)  # that larger file was confirmed before


def test_a_smaller_file_is_looked_for_below_one_that_was_confirmed_after_a_refuted_one() -> None:
    def figures(trial: Trial, on: SampleSet) -> Measurements:
        if trial.variant.mode == "int8":
            return pose(trial, on)
        return measured(1200, (60.0, 59.0, 61.0)) if trial.variant.per_channel else measured(1100, (16.0, 13.0, 19.0))

    outcome = find(figures, "int8", "int16x8")
    assert outcome.modes_confirmed == ["int8", "int16x8", "int16x8"]
    assert [one.selection.figures.file.size_bytes for one in outcome.state.refuted if one.selection.figures] == [
        1000,
        1100,
    ]
    assert outcome.found is not None
    assert outcome.found.selection.figures is not None
    assert outcome.found.selection.figures.file.size_bytes == 1200


def test_the_limit_keeps_a_trial_for_each_mode() -> None:
    outcome = find(pose, "int8", "int16x8", most=3)
    assert outcome.modes_made == ["int8", "int8", "int16x8"]
    assert outcome.mode == "int16x8"
    assert outcome.state.is_spent


@pytest.mark.parametrize("modes", [("int8", "int16x8"), ("int16x8",), ("float16",), ("float32", "float16", "int8")])
def test_one_trial_is_one_trial(modes: tuple[str, ...]) -> None:
    def figures(trial: Trial, on: SampleSet) -> Measurements:
        return measured(1000, (40.0, 39.0, 41.0))

    outcome = find(figures, *modes, most=1)
    assert outcome.modes_made == [modes[0]]
    assert outcome.mode == modes[0]


SIZES = {"float32": 2400, "float16": 1500, "dynamic": 1300, "int8": 1600, "int16x8": 1700}


def sized(trial: Trial, on: SampleSet) -> Measurements:
    """Each mode has its size, and only dynamic does not meet the limit."""
    value = 10.0 if trial.variant.mode == "dynamic" else 60.0
    return measured(SIZES[trial.variant.mode], (value, value - 1, value + 1))


def test_modes_without_options_are_first_and_bound_the_rest() -> None:
    outcome = find(sized, "int8", "int16x8", "float32", "float16", "dynamic")
    assert outcome.modes_made[:3] == ["float32", "float16", "dynamic"]
    assert outcome.modes_made[3:] == ["int8", "int8", "int16x8", "int16x8"]  # as they are, and per tensor
    assert outcome.modes_confirmed == ["float16"]
    assert outcome.mode == "float16"


def test_a_file_as_large_as_the_bound_is_no_better() -> None:
    def figures(trial: Trial, on: SampleSet) -> Measurements:
        return measured(1500, (60.0, 59.0, 61.0))

    outcome = find(figures, "int8", "float16")
    assert outcome.mode == "float16"
    assert outcome.modes_confirmed == ["float16"]


def test_a_smaller_file_than_the_bound_is_found() -> None:
    def figures(trial: Trial, on: SampleSet) -> Measurements:
        return measured(900, (30.0, 29.0, 31.0)) if trial.variant.mode == "int8" else sized(trial, on)

    outcome = find(figures, "int8", "int16x8", "float32", "float16", "dynamic")
    assert outcome.mode == "int8"
    assert outcome.modes_confirmed == ["float16", "int8"]
    assert outcome.state.bound is not None


def test_without_modes_in_float_a_large_file_is_an_answer() -> None:
    assert find(sized, "int8").mode == "int8"


def test_a_bound_is_confirmed_before_it_bounds() -> None:
    def figures(trial: Trial, on: SampleSet) -> Measurements:
        if trial.variant.mode == "dynamic":
            return measured(1300, (18.0, 17.0, 19.0) if on == SELECTION else (3.0, 2.0, 4.0))
        return sized(trial, on)

    outcome = find(figures, "float32", "float16", "dynamic")
    assert outcome.modes_confirmed == ["dynamic", "float16"]
    assert outcome.mode == "float16"


def test_refuted_smaller_files_leave_the_bound() -> None:
    def figures(trial: Trial, on: SampleSet) -> Measurements:
        return sized(trial, on) if trial.variant.mode == "float16" else pose(trial, on)

    outcome = find(figures, "int8", "float16")
    assert outcome.mode == "float16"
    assert [one.selection.trial.variant.mode for one in outcome.state.refuted] == ["int8"]


def test_the_same_file_is_not_confirmed_twice() -> None:
    def figures(trial: Trial, on: SampleSet) -> Measurements:
        value = 16.0 if on == SELECTION else 14.0
        return measured(1000, (value, value - 0.1, value + 0.1), sha256="same")

    outcome = find(figures, "int8")
    assert outcome.found is None
    assert len(outcome.runner.confirmed) == 1


def test_a_drop_of_a_metric_is_judged_the_same_way() -> None:
    def figures(trial: Trial, on: SampleSet) -> Measurements:
        drops = (0.0, 0.0) if trial.variant.mode == "int16x8" else (0.004, 0.2)
        size = 1200 if trial.variant.mode == "int16x8" else 1000
        return measured(size, (20.0, 19.0, 21.0), sha256=str(trial), drop=drops[on == CONFIRMATION])

    outcome = find(figures, "int8", "int16x8", constraints=(Constraint("max_metric_drop", 0.005),))
    assert outcome.mode == "int16x8"


def test_a_limit_on_the_size_is_not_a_margin() -> None:
    """If two files meet both limits, the one with the better SQNR has the widest margin."""
    constraints = (SQNR, Constraint("max_size_bytes", 1250.0))
    outcome = find(pose, "int8", "int16x8", constraints=constraints)
    assert outcome.mode == "int16x8"
    assert find(pose, "int16x8", constraints=(SQNR, Constraint("max_size_bytes", 1100.0))).found is None


@pytest.mark.parametrize("modes", [(), ("int8", "int16x8"), ("int8", "float16")])
def test_without_any_file_nothing_is_found(modes: tuple[str, ...]) -> None:
    outcome = find(lambda *_: None, *modes)
    assert outcome.found is None
    assert not outcome.runner.confirmed


def test_a_file_that_fails_on_the_confirmation_samples_is_refuted() -> None:
    outcome = find(lambda trial, on: None if on == CONFIRMATION else sized(trial, on), "float16", "float32")
    assert outcome.found is None
    assert len(outcome.state.refuted) == 2


def pair(before: tuple[float, float, float], after: tuple[float, float, float]) -> Candidate:
    trial = Trial(plain("int8"), "minmax")
    return Candidate(*(TrialResult(trial, measured(1, figures)) for figures in (before, after)))


def test_birge_ratio_is_the_difference_in_standard_errors() -> None:
    equal = 1.96  # an interval of this half width has a standard error of 1
    far = pair((20.0, 20 - 3 * equal, 30.0), (10.0, 0.0, 10 + 4 * equal))
    near = pair((20.0, 20 - equal, 20 + equal), (19.9, 19.9 - equal, 19.9 + equal))
    exact = pair((20.0, 20.0, 20.0), (10.0, 10.0, 10.0))
    assert birge_ratio(SQNR, []) == 1
    assert birge_ratio(SQNR, [far]) == pytest.approx(10 / 5)
    assert birge_ratio(SQNR, [near]) == 1
    assert birge_ratio(SQNR, [exact]) == 1
    assert birge_ratio(SQNR, [far, far]) == pytest.approx(2)
    assert seen_spread(SQNR, [far, far]) == pytest.approx(10)
    assert seen_spread(SQNR, []) == 0


def test_where_standard_errors_were_wrong_the_largest_value_has_the_widest_margin() -> None:
    """Files of int8 have narrow intervals and are all refuted, so they are not confirmed before int16x8 per tensor."""

    def figures(trial: Trial, on: SampleSet) -> Measurements:
        if trial.variant.mode == "int8":
            plain_value = (36.0, 35.9, 36.1) if is_plain(trial) else (35.0, 34.9, 35.1)
            return measured(1000, plain_value if on == SELECTION else (11.0, 10.9, 11.1), sha256=str(trial))
        return measured(1200, (60.0, 59.0, 61.0)) if trial.variant.per_channel else measured(1100, (41.0, 40.0, 42.0))

    outcome = find(figures, "int8", "int16x8")
    assert outcome.found is not None
    assert not outcome.found.selection.trial.variant.per_channel

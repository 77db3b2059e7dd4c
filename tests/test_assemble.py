"""What a report notes of variants, of builds made by hand."""

from __future__ import annotations

import multiprocessing
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from click.testing import CliRunner

from tflq.cache import Store
from tflq.cli import main
from tflq.evaluate.record import Record
from tflq.modes import Int8, Int8Only, Int16x8, Mode, QatInt8
from tflq.pipeline import Settings, _not_checked
from tflq.refine import RefinementConfig, RefinementReport
from tflq.scores import constant_outputs
from tflq.search.space import Space
from tflq.search.state import SearchState
from tflq.stages import VariantBuild
from tflq.stages.assemble import _unrefined
from tflq.trials import TrialLimits
from tflq.worker.child import _reporter
from tflq.worker.messages import Progress


def build(variant: Mode, obstacle: str | None = None, is_reproduced: bool | None = None) -> VariantBuild:
    found = RefinementReport(RefinementConfig(), (), 0, (), obstacle) if obstacle else None
    return VariantBuild(variant, variant.name, Path("net.tflite"), refinement=found, is_reproduced=is_reproduced)


def test_a_finding_that_variants_share_has_all_their_names() -> None:
    builds = [build(Int8(), "it crashed"), build(Int8Only(), "it crashed"), build(Int16x8(), "other")]
    first, second = _unrefined(builds)
    assert first.startswith("int8, int8_only: quantized without")
    assert first.endswith(": it crashed")
    assert second.startswith("int16x8: quantized without")


def record(count: int, spread: dict[str, float]) -> Record:
    """A record of samples whose last answer differs so much from the first, by the name of the output."""
    distances = {name: np.array([0.0] * (count - 1) + [last]) for name, last in spread.items()}
    return Record(np.zeros((count, 0)), {}, {}, distances, np.ones(count, bool), np.zeros(count, bool))


def test_an_output_that_never_varies_is_told() -> None:
    (said,) = constant_outputs(record(3, {"scores": 0.1, "boxes": 0.0, "count": 0.0}))
    assert said == (
        "the float32 file answers the same for all 3 samples in 'boxes', 'count', so the figures of these outputs say"
        " nothing. Check that the data is what the model takes"
    )
    assert not list(constant_outputs(record(3, {"scores": 0.1})))
    assert not list(constant_outputs(record(1, {"scores": 0.0})))


def test_trained_variants_are_told_not_to_be_checked() -> None:
    builds = [build(Int8(), is_reproduced=True), build(QatInt8()), build(Int8(trained=True))]
    (said,) = _not_checked(builds, Settings(verifies_reproducible=True))
    assert said == (
        "not checked for the same bytes after a second conversion: qat_int8, trained_int8; training is not repeated,"
        " and a given file cannot be converted again"
    )
    assert not list(_not_checked(builds, Settings()))
    assert not list(_not_checked(builds[:1], Settings(verifies_reproducible=True)))


def test_a_total_that_is_not_known_is_none() -> None:
    inbox, outbox = multiprocessing.Pipe(duplex=False)
    _reporter(outbox, "read")(1, sys.maxsize)
    assert inbox.recv() == Progress("read", 1, None)


def test_a_search_without_max_trials_has_no_total() -> None:
    heard: list[Any] = []
    workers = SimpleNamespace(listen=heard.append)
    runner: Any = SimpleNamespace(limits=TrialLimits(), context=SimpleNamespace(workers=workers), count=3)
    SearchState(runner, Space((), (), "minmax", {}, frozenset()), (), "size")._report_progress()
    assert heard == [Progress("search", 3, None)]


def test_options_of_one_recipe_do_not_speak_of_several() -> None:
    helps = {name: " ".join(CliRunner().invoke(main, [name, "--help"]).output.split()) for name in main.commands}
    of_one = [name for name, said in helps.items() if "--output" in said and "RECIPE..." not in said]
    assert {"search", "sensitivity", "advise"} <= set(of_one)
    assert not [name for name in of_one if "everal recipes" in helps[name]]
    assert "With several recipes" in helps["convert"]


def test_the_lines_of_the_cache_come_to_its_total(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("TFLQ_CACHE_DIR", str(tmp_path / "cache"))
    store = Store(tmp_path / "cache", 10**9)
    kinds = ("model", "samples", "ranges", "refined", "corrected", "answers", "later")
    for number, kind in enumerate(kinds):
        folder = tmp_path / kind
        folder.mkdir()
        (folder / "file").write_bytes(bytes(10 * (number + 1)))
        store.keep(kind, "0" * 64, folder)
    _, *lines = CliRunner().invoke(main, ["cache"]).stdout.splitlines()
    assert len(lines) == len(kinds)
    assert sum(int(line.split(", ")[1].removesuffix(" B")) for line in lines) == sum(
        entry.size_bytes for entry in store.entries()
    )
    assert any("1 entries of the kind later, " in line for line in lines)

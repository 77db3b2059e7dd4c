"""Files that no one could ship, each ruined in one way: their verdicts, and what is said of them."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import models_tflite
import pytest
import yaml
from click.testing import CliRunner
from conftest import made_once, run_script

from tflq.cli import main
from tflq.findings.causes import cause_along
from tflq.findings.kept_ops import ops_to_keep
from tflq.findings.op_causes import LayerEvidence
from tflq.flatbuffer import Graph
from tflq.flatbuffer import load as load_graph
from tflq.layerwise import Activation
from tflq.op_selectors import shortest_name
from tflq.pipeline import Settings, run
from tflq.recipe import load
from tflq.result import Finding, Variant

NEAR_PRESSURE = {"inputs": {"x": {"scale": 100.0, "offset": 101_325.0}}}


@pytest.fixture(scope="session")
def ruined(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the models of models_ruined.py, and of their data."""
    return made_once(tmp_path_factory, "ruined", partial(run_script, "models_ruined.py"))


def recipe_of(ruined: Path, model: str, folder: Path, **keys: Any) -> Path:
    recipe: dict[str, Any] = {
        "model": str(ruined / model),
        "calibration": {"dataset": {"npz": str(ruined / "calibration.npz")}, "samples": "all"},
        "evaluation": {"dataset": {"npz": str(ruined / "evaluation.npz")}},
        "latency": "off",
    }
    path = folder / f"{model}.yaml"
    path.write_text(yaml.safe_dump(recipe | keys, sort_keys=False))
    return path


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory, ruined: Path) -> Callable[[str], dict[str, Variant]]:
    """The variants of a model; each model is converted when a test first asks for it."""
    keys: dict[str, dict[str, Any]] = {
        "detection": {"variants": ["int8", "int16x8"]},
        "pressure": {"variants": ["float16", "int8"], **NEAR_PRESSURE},
        "large_weight": {"variants": ["float16"]},
        "mostly_names": {"variants": ["int8"]},
        "spectrum": {"variants": ["float16", "int8"]},
    }

    @functools.cache
    def variants_of(model: str) -> dict[str, Variant]:
        path = recipe_of(ruined, model, tmp_path_factory.mktemp(model), **keys[model])
        return {variant.name: variant for variant in run(load(path), Settings(jobs=1)).variants}

    return variants_of


Converted = Callable[[str], dict[str, Variant]]


def finding(variant: Variant, kind: str) -> Finding:
    """The first finding of that kind."""
    return next(each for each in variant.findings if each.kind == kind)


class TestScoresBesideBoxesInPixels:
    def test_are_dead_in_int8(self, converted: Converted) -> None:
        variant = converted("detection")["int8"]
        assert (variant.status, variant.exit_code) == ("failed", 1)
        assert variant.why == "max_dead_channels is 6, but the limit is 0"
        assert variant.measured is not None
        (output,) = variant.measured.fidelity.values()
        assert output.sqnr_db is not None
        assert output.channels is not None
        assert output.sqnr_db > 30
        assert output.channels.dead == (4, 5, 6, 7, 8, 9)
        assert output.channels.worst in output.channels.dead

    def test_are_told_with_cause_and_remedy(self, converted: Converted) -> None:
        found = finding(converted("detection")["int8"], "dead channels")
        assert (found.where, found.message) == (
            "output 'y'",
            "has 6 of 10 channels (4, 5, 6, 7, 8, 9) that are dead: they vary in the float32 file, but are constant in"
            " this file",
        )
        assert found.cause.startswith(
            "CONCATENATION 'StatefulPartitionedCall:0': it gives one scale to ranges that differ "
        )
        assert found.remedy == (
            "Divide the larger values by their range in the model, return them as an output of their own, keep the last"
            " CONCATENATION in float (keep_float: ['y']), or use mode int16x8"
        )

    def test_are_whole_in_int16(self, converted: Converted) -> None:
        variant = converted("detection")["int16x8"]
        assert (variant.status, [each.kind for each in variant.findings]) == ("ok", [])


class TestMeanBeyondFloat16:
    def test_is_a_finding_with_both_values(self, converted: Converted) -> None:
        variant = converted("pressure")["float16"]
        found = finding(variant, "constant")
        assert found.before == pytest.approx(101_340)
        assert found.after == 65_504
        assert found.cause == "float16 has no value beyond 65,504"
        assert "do the Normalization outside" in found.remedy
        assert (variant.status, variant.exit_code) == ("broken", 6)
        assert finding(variant, "broken").cause == f"{found.where} {found.message}"

    def test_in_int8_names_the_values_far_from_0(self, converted: Converted) -> None:
        variant = converted("pressure")["int8"]
        assert variant.status in ("poor", "broken")
        found = finding(variant, variant.status)
        assert "the first op that loses much is #0 SUB" in found.cause
        assert "and the range of its integers includes 0, so that few steps are left for them" in found.cause


def test_weight_beyond_float16_is_a_finding(converted: Converted) -> None:
    variant = converted("large_weight")["float16"]
    found = finding(variant, "constant")
    assert (found.before, found.after) == (200_000, 65_504)
    assert variant.status == "poor"
    assert finding(variant, "poor").cause == f"{found.where} {found.message}"


def test_file_of_mostly_names_is_no_smaller(converted: Converted) -> None:
    variant = converted("mostly_names")["int8"]
    assert variant.file is not None
    assert variant.size_ratio is not None
    assert variant.size_ratio > 1.2
    found = finding(variant, "size")
    assert found.message.startswith(f"is no smaller than the float32 file: {variant.file.size_bytes:,} bytes for ")
    assert "its tables, scales and names" in found.cause
    assert variant.status == "ok"


class TestLogarithmsOfPowers:
    def test_in_int8_are_worse_than_the_mean(self, converted: Converted) -> None:
        variant = converted("spectrum")["int8"]
        assert (variant.status, variant.exit_code) == ("broken", 6)
        assert variant.why.startswith(
            "output 'y' is worse than an answer that is always the mean of the float32 file's"
        )
        found = finding(variant, "broken")
        assert "so that most values are below one step of int8" in found.cause
        assert "keep_float: ['" in found.remedy

    def test_in_float16_are_poor_for_an_epsilon_that_became_0(self, converted: Converted) -> None:
        variant = converted("spectrum")["float16"]
        assert (variant.status, variant.exit_code) == ("poor", 0)
        assert "1e-12 became 0" in finding(variant, "poor").cause
        assert finding(variant, "poor").remedy == "Use a larger constant in the model, such as 1e-6 for an epsilon"


def command(*arguments: str) -> tuple[int, str]:
    """The exit code and the text of the command line."""
    ran = CliRunner().invoke(main, [*arguments])
    return ran.exit_code, ran.output


@pytest.mark.slow
def test_search_mends_dead_channels(ruined: Path, tmp_path: Path) -> None:
    """The SQNR alone meets its gate from the start."""
    recipe = recipe_of(ruined, "detection", tmp_path, variants=["int8"], gates={"min_sqnr_db": 30})
    code, said = command("search", str(recipe), "--modes", "int8")
    assert code == 0, said
    assert " in float meets min_sqnr_db 30 and max_dead_channels 0: " in said
    assert "the number of dead channels is 0" in said
    assert command("convert", str(tmp_path / "build" / "detection" / "found.yaml"))[0] == 0


@pytest.mark.slow
def test_sensitivity_shows_dead_channels(ruined: Path, tmp_path: Path) -> None:
    code, said = command("sensitivity", str(recipe_of(ruined, "detection", tmp_path, variants=["int8"])))
    assert code == 0, said
    assert "Dead channels: 6. They vary in the float32 file, but are constant in this file." in said
    assert "in float, 6 of 6 dead channels vary again." in said
    effects = json.loads((tmp_path / "build" / "detection" / "sensitivity.json").read_text())["effects"]
    revived = [effect["won"]["revived_channels"] for effect in effects if effect["won"]]
    assert (revived[0], revived) == (6, sorted(revived, reverse=True))


@pytest.fixture(scope="module")
def cnn(tmp_path_factory: pytest.TempPathFactory) -> Graph:
    """A chain of six ops, whose output is tensor 13."""
    return load_graph(models_tflite.made(tmp_path_factory.mktemp("cnn") / "cnn.tflite"))


def evidence(graph: Graph, mode: str, *decibels: float) -> LayerEvidence:
    """Activations that have that many decibels behind the ops in turn. Their values show no cause."""
    values = {
        8 + op: Activation(8 + op, "", "", op, each, (1.0, 1.0), 0.0, 1.0, 0.5) for op, each in enumerate(decibels)
    }
    return LayerEvidence(graph, mode, values)


def test_an_error_that_many_ops_add_up_to_is_blamed_on_none_of_them(cnn: Graph) -> None:
    cause = cause_along(evidence(cnn, "int8", 47.0, 41.5, 36.0, 30.5, 25.0, 19.5), "scores", ())
    assert cause.text == (
        "no single op loses much, but the errors of 6 ops add up: the output of the first op has 47.0 dB, and that of"
        " the last one has 19.5 dB"
    )
    assert cause.remedy == "Use mode int16x8, or train with mode qat_int8"
    assert cause_along(evidence(cnn, "int16x8", *[40.0] * 6), "scores", ()).remedy == "Use mode float16"


def test_an_op_that_loses_much_is_blamed(cnn: Graph) -> None:
    cause = cause_along(evidence(cnn, "int8", 200.0, 45.0, 21.0, 20.0, 19.0, 18.0), "scores", ())
    assert cause.text.startswith("the first op that loses much is #2 CONCATENATION ")
    assert cause.text.endswith(": its worst input has 45.0 dB, its output has 21.0 dB")


def test_an_op_that_loses_much_is_kept_in_float(cnn: Graph) -> None:
    lost = (200.0, 45.0, 21.0, 20.0, 19.0, 18.0)
    remedies = {mode: cause_along(evidence(cnn, mode, *lost), "scores", ()).remedy for mode in ("int8", "int16x8")}
    assert remedies["int8"].startswith("Keep it in float (keep_float: ['")
    assert remedies["int8"].endswith("']); tflq sensitivity measures what that wins. Or use mode int16x8")
    assert remedies["int16x8"].endswith("']); tflq sensitivity measures what that wins")
    bad = replace(evidence(cnn, "int8", *lost), has_good_int16=False)
    assert "int16x8" not in cause_along(bad, "scores", ()).remedy
    kept = replace(bad, in_float=frozenset({2}))
    assert cause_along(kept, "scores", ()).remedy == "Train with mode qat_int8"
    assert cause_along(evidence(cnn, "float16", *lost), "scores", ()).remedy == "Use mode float32"


def test_all_ops_that_lose_much_are_told(cnn: Graph) -> None:
    cause = cause_along(evidence(cnn, "int8", 200.0, 45.0, 21.0, 14.0, 9.0, 1.0), "scores", ())
    assert ", its output has 21.0 dB, and 2 other ops lose much, too" in cause.text
    names = [shortest_name(cnn, op) for op in (2, 3, 5)]
    assert cause.remedy == f"Keep these ops in float: keep_float: {names}. Or use mode int16x8"


def test_ops_beside_values_below_one_step_are_kept_in_float_too(cnn: Graph) -> None:
    """Op 2 writes tensor 10, and op 3 reads it: either alone in float still has its values rounded."""
    given = evidence(cnn, "int8", 200.0, 45.0, 41.0, 20.0, 19.0, 18.0)
    small = replace(given.activations[10], peaks=(1000.0, 1.0), typical=0.01)
    wide = replace(given, activations={**given.activations, 10: small})
    assert ops_to_keep(given, [3]) == [3]
    assert ops_to_keep(wide, [3]) == [2, 3]
    assert ops_to_keep(replace(wide, in_float=frozenset({3})), [3]) == [2]
    assert "median value of '' is 0.01" in cause_along(wide, "scores", ()).text


def test_in_files_with_float_activations_only_weights_are_blamed(cnn: Graph) -> None:
    given = evidence(cnn, "dynamic", 200.0, 45.0, 41.0, 20.0, 19.0, 18.0)
    some = replace(given, weighted=frozenset({0, 1}), in_float=frozenset({2, 3, 4, 5}))
    (before,) = {0, 1} & {op.index for op in cnn.subgraphs[0].operators if {*op.outputs} & {9}}
    assert before in ops_to_keep(some, [3])
    assert ops_to_keep(some, [0]) == [0]
    cause = cause_along(replace(some, weighted=frozenset()), "scores", ())
    assert (cause.text.count("range"), cause.remedy) == (0, "Use mode weights8 or float16")

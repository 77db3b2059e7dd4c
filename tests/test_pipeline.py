"""From a recipe to checked and measured files: each mode and option on small models, converted for real."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from running import CALIBRATED, MODES, Ran, Recipes, run_recipe

from tflq.errors import RecipeError
from tflq.flatbuffer import Graph
from tflq.interpreter import Runner
from tflq.recipe import load, only

every_mode = pytest.mark.parametrize("mode", MODES)


def dtypes(graph: Graph) -> set[str]:
    """Of all activations and weights that ops use, indices and shapes apart."""
    found = set()
    for subgraph, operator in graph.operators():
        found |= {tensor.dtype for tensor in (*subgraph.read_by(operator), *subgraph.written_by(operator))}
    return found - {"int32"} | {
        "int32" for sub in graph.subgraphs for t in sub.tensors if t.dtype == "int32" and t.quantization
    }


def ports(graph: Graph) -> tuple[list[str], list[str]]:
    """The dtypes of inputs and of outputs."""
    (signature,) = graph.signatures
    tensors = graph.subgraphs[signature.subgraph].tensors
    return [tensors[i].dtype for _, i in signature.inputs], [tensors[i].dtype for _, i in signature.outputs]


DTYPES = {
    "float32": {"float32"},
    "dynamic": {"float32", "int8"},
    "float16": {"float32", "float16"},
    "int8": {"float32", "int8", "int32"},
    "int8_only": {"int8", "int32"},
    "int16x8": {"float32", "int16", "int8", "int32", "int64"},
    "int16x8_only": {"int16", "int8", "int64"},
}
PORTS = {"int8_only": "int8", "int16x8_only": "int16"}
LARGEST_SHARE = {"dynamic": 0.6, "float16": 0.7, "int8": 0.6, "int8_only": 0.6, "int16x8": 0.6, "int16x8_only": 0.6}
LEAST_DB = {"dynamic": 35, "float16": 60, "int8": 25, "int8_only": 25, "int16x8": 25, "int16x8_only": 25}


@every_mode
def test_mode_is_ok(all_modes: Ran, mode: str) -> None:
    variant = all_modes.variant(mode)
    assert (variant.status, variant.exit_code, variant.error, variant.violations) == ("ok", 0, None, ())


@every_mode
def test_mode_makes_what_it_says(all_modes: Ran, mode: str) -> None:
    graph = all_modes.graph(mode)
    assert dtypes(graph) == DTYPES[mode]
    assert ports(graph) == ([PORTS.get(mode, "float32")], [PORTS.get(mode, "float32")])


@every_mode
def test_mode_is_small_and_near_the_float_model(all_modes: Ran, mode: str) -> None:
    variant = all_modes.variant(mode)
    (output,) = variant.measured.fidelity.values()
    if mode == "float32":
        assert (variant.size_ratio, output.sqnr_db, output.agreement) == (1.0, None, 1.0)
    else:
        assert variant.size_ratio < LARGEST_SHARE[mode]
        assert LEAST_DB[mode] < output.sqnr_db < 100


def test_report_tells_of_each_file_what_is_in_the_folder(all_modes: Ran) -> None:
    for row in all_modes.report["variants"]:
        content = (all_modes.output / row["file"]).read_bytes()
        assert row["sha256"] == hashlib.sha256(content).hexdigest()
        assert row["size_bytes"] == len(content)


def test_folder_holds_files_reports_recipe_and_log_and_nothing_else(all_modes: Ran) -> None:
    names = [f"recipe-{mode}.tflite" for mode in MODES]
    assert sorted(path.name for path in all_modes.output.iterdir()) == sorted(
        [*names, "recipe.yaml", "report.html", "report.json", "report.md", "tflq.lock", "tflq.log"]
    )


def test_report_says_what_was_read(all_modes: Ran) -> None:
    report = all_modes.report
    assert report["exit_code"] == 0
    assert (report["calibration"]["samples"], report["calibration"]["of"]) == (20, 24)
    assert (report["evaluation"]["samples"], report["evaluation"]["of"]) == (12, 24)
    (image,) = report["calibration"]["inputs"]
    assert (image["name"], image["dtype"], image["samples"]) == ("image", "float32", 20)


def test_all_files_are_scored_timed_and_compared_on_the_same_samples(all_modes: Ran) -> None:
    for variant in all_modes.result.variants:
        assert variant.measured.metric.samples == 12
        assert variant.measured.latency_ms.runs == 3
    base = all_modes.result.baseline
    assert base.float32_metric == base.source_metric == all_modes.variant("float32").measured.metric.value
    assert base.fidelity["scores"].sqnr_db > 100


def test_metric_is_that_of_the_labels(all_modes: Ran, data: Path) -> None:
    rows = np.load(data / "images.npz")
    chosen = np.sort(np.random.Generator(np.random.PCG64(2)).choice(24, 12, replace=False))
    run = Runner(all_modes.file("int8_only"))
    right = [run({"image": rows["image"][i : i + 1]})["scores"].argmax() == rows["label"][i] for i in chosen]
    assert all_modes.variant("int8_only").measured.metric.value == pytest.approx(np.mean(right))


def test_log_holds_what_tensorflow_said_by_stage(all_modes: Ran) -> None:
    assert [f"convert {mode}" in all_modes.stages for mode in MODES] == [False] + [True] * 6
    assert "convert float32 baseline" in all_modes.stages
    assert all(f"=== {stage}\n" in all_modes.log for stage in all_modes.stages)


def test_resolved_recipe_makes_the_same_bytes_again(all_modes: Ran, tmp_path: Path) -> None:
    resolved = yaml.safe_load((all_modes.output / "recipe.yaml").read_text())
    copy = all_modes.output / "again.yaml"  # paths in it are as seen from there
    copy.write_text(yaml.safe_dump(resolved | {"output": str(tmp_path), "latency": "off"}))
    again = run_recipe(copy)
    copy.unlink()
    assert {
        mode: again.file(mode).read_bytes() == all_modes.file(mode).read_bytes() for mode in MODES
    } == dict.fromkeys(MODES, True)
    assert again.variant("int8").measured.fidelity == all_modes.variant("int8").measured.fidelity


TYPES = [
    ("int8", "int8", "int8"),
    ("int8", "uint8", "uint8"),
    ("int8", "uint8", "float32"),
    ("int8_only", "uint8", "int8"),
    ("int8_only", "float32", "float32"),
    ("int16x8", "int16", "int16"),
    ("int16x8_only", "float32", "int16"),
]


@pytest.fixture(scope="module")
def types_and_channels(recipes: Recipes) -> Ran:
    """tiny_conv with every kind of input and output, and with one scale for all channels."""
    variants = [
        {"mode": mode, "inference_input_type": one, "inference_output_type": other, "name": f"{mode}-{one}-{other}"}
        for mode, one, other in TYPES
    ]
    return recipes.uncorrected.run(
        "tiny_conv",
        [
            *variants,
            {"mode": "int8", "name": "per-tensor", "per_channel": False},
            {"mode": "int8", "name": "dense-per-tensor", "per_channel_dense": False},
        ],
    )


@pytest.mark.parametrize(("mode", "taken", "given"), TYPES)
def test_inputs_and_outputs_are_of_the_type_asked(types_and_channels: Ran, mode: str, taken: str, given: str) -> None:
    name = f"{mode}-{taken}-{given}"
    variant = types_and_channels.variant(name)
    assert (variant.status, ports(types_and_channels.graph(name))) == ("ok", ([taken], [given]))
    (output,) = variant.measured.fidelity.values()
    assert output.sqnr_db > 25
    is_scaled = [port.scale is not None for port in (*variant.file.inputs, *variant.file.outputs)]
    assert is_scaled == [taken != "float32", given != "float32"]


def scales(graph: Graph, type_: str) -> int:
    """How many the weights of the first op of that type have."""
    subgraph, operator = next((sub, op) for sub, op in graph.operators() if op.type == type_)
    return len(subgraph.input(operator, 1).quantization.scales)


def test_weights_have_a_scale_per_channel_unless_told(types_and_channels: Ran, all_modes: Ran) -> None:
    graphs = [all_modes.graph("int8"), *map(types_and_channels.graph, ("per-tensor", "dense-per-tensor"))]
    assert [scales(graph, "CONV_2D") for graph in graphs] == [16, 1, 16]
    assert [scales(graph, "DEPTHWISE_CONV_2D") for graph in graphs] == [16, 1, 16]
    assert [scales(graph, "FULLY_CONNECTED") for graph in graphs] == [4, 1, 1]


@pytest.fixture(scope="module")
def uncorrected(recipes: Recipes, all_modes: Ran) -> Ran:
    """What is held back to decide on corrections is a number of calls, which is another with each size of batch."""
    evaluation = yaml.safe_load((all_modes.output / "recipe.yaml").read_text())["evaluation"]
    rows = {"npz": str(recipes.data / "images.npz")}
    return recipes.uncorrected.run("tiny_conv", ["int8"], evaluation=evaluation | {"dataset": rows})


@pytest.mark.parametrize("batch_size", [5, 7, "dynamic"])
def test_figures_do_not_depend_on_the_batch(
    recipes: Recipes, all_modes: Ran, uncorrected: Ran, batch_size: int | str
) -> None:
    """Twelve samples leave a last batch of two, of five, or none."""
    resolved = yaml.safe_load((all_modes.output / "recipe.yaml").read_text())
    rows = {"npz": str(recipes.data / "images.npz")}
    ran = recipes.uncorrected.run(
        "tiny_conv",
        ["float32", "int8"],
        model={"saved_model": str(recipes.models / "tiny_conv"), "batch_size": batch_size},
        evaluation=resolved["evaluation"] | {"dataset": rows},
    )
    assert ran.result.exit_code == 0, ran.page
    shape = ran.variant("int8").file.inputs[0].shape
    assert shape == (-1 if batch_size == "dynamic" else batch_size, 8, 8, 3)
    assert ran.variant("float32").measured.metric == all_modes.variant("float32").measured.metric
    one, other = (each.variant("int8").measured.fidelity["scores"] for each in (ran, uncorrected))
    assert one.mse == pytest.approx(other.mse, rel=0.002)
    assert one.sqnr_db == pytest.approx(other.sqnr_db, abs=0.01)


def test_last_batch_may_be_of_one_sample(recipes: Recipes) -> None:
    """Which is padded, and must not count as often as the batch is large."""
    rows = {"npz": str(recipes.data / "images.npz")}
    evaluation = {"dataset": rows, "samples": 5, "seed": "first", "label": "label", "metric": "mae"}
    model = {"saved_model": str(recipes.models / "tiny_conv"), "batch_size": 4}
    np.savez(recipes.data / "targets.npz", image=np.load(recipes.data / "images.npz")["image"], label=np.ones((24, 4)))
    evaluation["dataset"] = {"npz": str(recipes.data / "targets.npz")}
    alone, four = (
        recipes.run("tiny_conv", ["float32"], model=each, evaluation=evaluation)
        for each in (model["saved_model"], model)
    )
    assert four.result.exit_code == 0, four.page
    one, other = (ran.variant("float32").measured.metric for ran in (alone, four))
    assert one.value == pytest.approx(other.value, rel=1e-6)
    assert one.samples == other.samples == 5


def test_file_of_open_batch_runs_any_number_of_samples(recipes: Recipes) -> None:
    """One of the files is corrected."""
    ran = recipes.uncorrected.run(
        "tiny_conv",
        [{"mode": mode, "bias_correction": "auto" if mode == "int8_only" else "off"} for mode in CALIBRATED],
        model={"saved_model": str(recipes.models / "tiny_conv"), "batch_size": "dynamic"},
    )
    assert ran.codes == dict.fromkeys(CALIBRATED, 0), ran.page
    images = np.load(recipes.data / "images.npz")["image"]
    run = Runner(ran.file("int8_only"))
    together = run({"image": images[:6]})["scores"]
    assert np.array_equal(together, np.concatenate([run({"image": images[i : i + 1]})["scores"] for i in range(6)]))


def test_inputs_are_told_apart_by_name(recipes: Recipes, data: Path) -> None:
    """The graph has them in another order than the signature, and both are of one shape."""
    ran = recipes.run("two_inputs", ["float32", "int8"])
    assert ran.result.exit_code == 0
    assert ran.result.baseline.fidelity["y"].sqnr_db > 100
    assert ran.variant("int8").measured.fidelity["y"].sqnr_db > 20
    swapped = recipes.run(
        "two_inputs", ["float32"], inputs={"zeta": {"column": "alpha"}, "alpha": {"column": "zeta"}}, calibration=None
    )
    rows = np.load(data / "pairs.npz")
    one, other = Runner(ran.file("float32")), Runner(swapped.file("float32"))
    row = {name: rows[name][:1] for name in ("zeta", "alpha")}
    assert np.array_equal(one(row)["y"], other(row)["y"])
    assert ran.file("float32").read_bytes() == swapped.file("float32").read_bytes()


def test_each_input_is_calibrated_with_its_own_column(recipes: Recipes) -> None:
    rows = {"npz": str(recipes.data / "unlike.npz")}
    random = np.random.default_rng(0)
    np.savez(rows["npz"], small=random.uniform(0, 1, (8, 16)), large=random.uniform(0, 100, (8, 16)))
    ran = recipes.uncorrected.run(
        "two_inputs",
        ["int8_only"],
        inputs={"zeta": {"column": "small"}, "alpha": {"column": "large"}},
        calibration={"dataset": rows},
        evaluation={"dataset": rows},
    )
    scale = {port.name: port.scale for port in ran.variant("int8_only").file.inputs}
    assert scale["zeta"] == pytest.approx(1 / 255, rel=0.1)
    assert scale["alpha"] == pytest.approx(100 / 255, rel=0.1)


def test_several_outputs_keep_their_names(recipes: Recipes) -> None:
    rows = {"npz": str(recipes.data / "images.npz")}
    evaluation = {"dataset": rows, "label": "label", "metric": "top1", "output": "zeta", "samples": "all"}
    ran = recipes.run("two_outputs", ["float32", "int8_only"], evaluation=evaluation)
    assert ran.result.exit_code == 0, ran.page
    assert {port.name: port.shape for port in ran.variant("int8_only").file.outputs} == {
        "zeta": (1, 4),
        "alpha": (1, 16),
    }
    assert {name: output.sqnr_db > 25 for name, output in ran.variant("int8_only").measured.fidelity.items()} == {
        "zeta": True,
        "alpha": True,
    }
    assert ran.variant("float32").measured.metric.samples == 24


def test_without_evaluation_fidelity_is_measured_on_calibration_samples(recipes: Recipes) -> None:
    ran = recipes.uncorrected.run("tiny_dense", ["int8"], evaluation=None)
    assert ran.result.exit_code == 0
    assert ran.result.evaluation.samples == 20
    assert any("fidelity is measured on the calibration samples" in warning for warning in ran.result.warnings)


def test_without_any_data_float_modes_run_on_random_numbers(recipes: Recipes) -> None:
    ran = recipes.run("tiny_dense", ["float16"], evaluation=None, calibration=None)
    assert ran.result.exit_code == 0
    assert ran.result.warnings[0].startswith("measured on random numbers")


def test_failed_gate_is_exit_code_1_and_the_file_is_kept(recipes: Recipes) -> None:
    ran = recipes.uncorrected.run("tiny_conv", ["float32", "int8"], gates={"max_size_ratio": 0.9, "min_sqnr_db": 90})
    assert ran.codes == {"float32": 1, "int8": 1}
    assert ran.result.exit_code == 1
    assert ran.variant("int8").status == "failed"
    assert ran.file("int8").is_file()


def test_only_some_variants_leave_the_files_of_others(recipes: Recipes) -> None:
    file = recipes.uncorrected.write("tiny_dense", ["float32", "dynamic", "int8"])
    run_recipe(file)
    before = {path.name: path.stat().st_mtime_ns for path in (file.parent / "build/recipe").glob("*.tflite")}
    ran = run_recipe(file, names=["int8"])
    after = {path.name: path.stat().st_mtime_ns for path in (file.parent / "build/recipe").glob("*.tflite")}
    assert [variant.name for variant in ran.result.variants] == ["int8"]
    assert {name for name in before if before[name] != after[name]} == {"recipe-int8.tflite"}
    assert before.keys() == after.keys()


def test_unknown_variant_is_refused(recipes: Recipes) -> None:
    recipe = load(recipes.write("tiny_dense", ["float32", "int8"]))
    with pytest.raises(RecipeError, match=r"--only in8: no variant has this name \(did you mean 'int8'\?\)"):
        only(recipe, ["in8"])


def test_file_made_elsewhere_is_measured_like_our_own(recipes: Recipes, all_modes: Ran, tmp_path: Path) -> None:
    file = tmp_path / "theirs.tflite"
    file.write_bytes(all_modes.file("int8").read_bytes())
    resolved = all_modes.output / "recipe.yaml"
    before = {path.name: path.read_bytes() for path in all_modes.output.iterdir() if path.suffix != ".log"}
    ran = run_recipe(resolved, file=file)
    (theirs,) = ran.result.variants
    assert (theirs.name, theirs.mode, theirs.status) == ("theirs.tflite", None, "ok")
    assert theirs.measured.metric == all_modes.variant("int8").measured.metric
    assert theirs.measured.fidelity == all_modes.variant("int8").measured.fidelity
    assert before == {path.name: path.read_bytes() for path in all_modes.output.iterdir() if path.suffix != ".log"}


def test_file_made_elsewhere_is_held_to_the_rules_that_all_files_keep(recipes: Recipes, all_modes: Ran) -> None:
    missing = all_modes.output / "missing.tflite"
    with pytest.raises(RecipeError, match=r"missing\.tflite: there is no such file"):
        run_recipe(all_modes.output / "recipe.yaml", file=missing)


def test_json_report_has_no_numbers_that_json_has_not(all_modes: Ran) -> None:
    text = (all_modes.output / "report.json").read_text()
    assert json.loads(text, parse_constant=lambda name: pytest.fail(name))["schema_version"] == 1

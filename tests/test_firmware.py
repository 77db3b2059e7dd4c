"""C++ source, golden vectors and stripped files: compiled, run and compared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tflite_edit as edit
from ai_edge_litert import schema_py_generated as schema
from compiling import needs_compiler, output_of
from running import Ran, Recipes

from tflq import flatbuffer
from tflq.errors import EvaluationError
from tflq.firmware.c_text import comment, float_literal, identifier, number_lines
from tflq.firmware.io_row import io_rows
from tflq.firmware.making import make_artifacts, old_sources
from tflq.firmware.op_resolver import method, registrations
from tflq.firmware.schema import Artifacts
from tflq.firmware.strip import stripped
from tflq.interpreter import reference_outputs
from tflq.targets.arena import arena_bytes
from tflq.targets.memory_plan import memory_plan
from tflq.targets.shipped import load

PROGRAM = """\
#include "NAME.h"
#include "NAME_golden.h"
#include <cstdio>
#include <string>
struct Resolver {
  std::string calls;
  METHODS
};
using namespace IDENTIFIER_model;
int main() {
  Resolver resolver;
  if (!AddOps(resolver)) return 1;
  std::printf("%d %s%zu %zu %zu\\n", kOpCount, resolver.calls.c_str(), kArenaSize, kInput0Size, kGoldenCount);
  for (float x : {-100.0f, 0.0f, 1.0f, 100.0f}) std::printf("%d ", int(QuantizeInput0(x)));
  std::printf("%.6f\\n", DequantizeInput0(QuantizeInput0(1.0f)));
  std::fwrite(kGoldenInput0, sizeof(kGoldenInput0), 1, stdout);
  std::fwrite(kGoldenOutput0, sizeof(kGoldenOutput0), 1, stdout);
  std::fwrite(g_IDENTIFIER_model_data, g_IDENTIFIER_model_data_size, 1, stdout);
  return reinterpret_cast<std::uintptr_t>(g_IDENTIFIER_model_data) % 16 == 0 ? 0 : 2;
}
"""


def calls(count: int = 2) -> list[dict[str, np.ndarray]]:
    values = np.random.default_rng(0).normal(0, 1, (count, 1, 8, 8, 3)).astype(np.float32)
    return [{"image": value} for value in values]


def made(folder: Path, artifacts: Artifacts, name: str = "cnn_int8") -> Path:
    """A file with a name that is no identifier, after its artifacts were made beside it."""
    path = folder / "3 net-ü.tflite"
    path.write_bytes(edit.raw(name))
    graph = flatbuffer.load(path)
    make_artifacts(lambda *_: None, path, artifacts, io_rows(graph, graph.signatures[0]), calls())
    return path


@needs_compiler
def test_source_compiles_without_a_warning_and_reads_back_equal(tmp_path: Path) -> None:
    path = made(tmp_path, Artifacts(c_array=True))
    content = path.read_bytes()
    names = registrations(flatbuffer.read(content))
    methods = "\n  ".join(f'int {name}() {{ calls += "{name} "; return 0; }}' for name in names)
    program = (
        PROGRAM.replace("METHODS", methods).replace("IDENTIFIER", identifier(path.stem)).replace("NAME", path.stem)
    )
    (tmp_path / "main.cc").write_text(program, encoding="utf-8")
    told = output_of(sorted(tmp_path.glob("*.cc")), tmp_path)
    first, second, binary = told.split(b"\n", 2)
    graph = flatbuffer.read(content)
    options = flatbuffer.operator_options(content)
    arena = arena_bytes(graph, options, memory_plan(graph, options))
    assert first.decode() == f"{len(names)} {' '.join(names)} {arena} 192 2"
    scale = np.float32(0.02806518)
    assert second.decode() == f"0 139 {139 + round(1 / scale)} 255 {round(1 / scale) * scale:.6f}"
    images = [np.clip(np.rint(call["image"] / scale) + 139, 0, 255).astype(np.uint8) for call in calls()]
    scores = [output for (output,) in reference_outputs(content, [[image] for image in images]).calls]
    assert binary == b"".join(array.tobytes() for array in [*images, *scores]) + content


def test_the_size_of_the_array_is_said_and_not_that_of_its_text(tmp_path: Path) -> None:
    path = made(tmp_path, Artifacts(c_array=True))
    source = path.with_suffix(".cc").read_text(encoding="utf-8")
    assert source.startswith("// Written by tflq from 3 net-_.tflite, 4000 bytes, SHA-256 ")
    assert "alignas(16) const unsigned char g_model_3_net___model_data[] = {" in source
    header = path.with_suffix(".h").read_text(encoding="utf-8")
    assert "constexpr int kInput0ZeroPoint = 139;" in header
    assert "constexpr std::size_t kOutput0Size = 4;" in header
    golden = path.with_name(f"{path.stem}_golden.h").read_text(encoding="utf-8")
    assert "the inputs and the outputs of LiteRT's reference kernels." in golden


def test_names_of_files_and_tensors_cannot_leave_a_comment() -> None:
    assert comment("a*/ b\n\\ ??/ ü") == "a*/ b__ __/ _"
    assert identifier("digits-int8_only") == "digits_int8_only"
    assert identifier("_x") == "model_x"


def test_numbers_are_literals_of_their_type() -> None:
    assert [float_literal(value) for value in (0.5, 2.0, 1e-7, 1e20)] == ["0.5f", "2.0f", "1e-07f", "1e+20f"]
    assert [*number_lines(np.array([-(2**63), 2**40, 3], np.int64))] == [
        "     (-9223372036854775807LL - 1), 1099511627776LL, 3,"
    ]
    assert [*number_lines(np.array([np.nan, np.inf, 1], np.float32))] == ["     NAN, INFINITY, 1.0f,"]
    assert [*number_lines(np.array([True, False]))] == ["     true, false,"]


def test_methods_of_the_resolver() -> None:
    found = {method(type_) for type_ in load("micro").ops}
    assert found >= {
        "AddConv2D",
        "AddDepthwiseConv2D",
        "AddL2Pool2D",
        "AddPadV2",
        "AddBatchMatMul",
        "AddRelu6",
        "AddIf",
    }
    assert found >= {"AddSpaceToBatchNd", "AddUnidirectionalSequenceLSTM", "AddSelectV2", "AddCallOnce", "AddCumSum"}

    def custom(model: Any) -> None:
        code = model.operatorCodes[edit.operator(model, "SOFTMAX").opcodeIndex]
        code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.CUSTOM
        code.customCode = b"Mine"

    model = edit.load("cnn_int8")
    custom(model)
    assert 'AddCustom "Mine"' in registrations(flatbuffer.read(edit.packed(model)))


@pytest.mark.parametrize("name", edit.NAMES)
def test_a_stripped_file_is_smaller_and_answers_as_before(name: str) -> None:
    content = edit.raw(name)
    smaller = stripped(content)
    before, after = flatbuffer.read(content), flatbuffer.read(smaller)
    assert len(smaller) < len(content)
    assert after.description == ""
    assert {entry.name for entry in after.metadata} <= {"reduced_precision_support"}
    assert {tensor.name for subgraph in after.subgraphs for tensor in subgraph.tensors} == {""}
    assert [signature.inputs for signature in after.signatures] == [signature.inputs for signature in before.signatures]
    fed, values = [before.subgraphs[0].tensors[index] for index in before.subgraphs[0].inputs], np.random.default_rng(0)
    inputs = [values.integers(0, 9, tensor.shape).astype(tensor.dtype) for tensor in fed]
    one, other = (reference_outputs(each, [inputs]).calls[0] for each in (content, smaller))
    assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))
    assert stripped(smaller) == smaller


def test_names_stay_where_no_signature_has_them() -> None:
    model = edit.load("cnn_int8")
    model.signatureDefs = None
    graph = flatbuffer.read(stripped(edit.packed(model)))
    (subgraph,) = graph.subgraphs
    named = {tensor.index: tensor.name for tensor in subgraph.tensors if tensor.name}
    assert named == {
        subgraph.inputs[0]: "serving_default_image:0",
        subgraph.outputs[0]: "StatefulPartitionedCall:0",
    }


def test_metadata_that_places_tensors_stays() -> None:
    model = edit.load("cnn_int8")
    model.metadata[0].name = b"OfflineMemoryAllocation"
    graph = flatbuffer.read(stripped(edit.packed(model)))
    assert [entry.name for entry in graph.metadata] == ["OfflineMemoryAllocation"]


def test_constants_behind_the_flatbuffer_are_not_lost() -> None:
    model = edit.load("cnn_int8")
    constant = edit.read_by(model, "CONV_2D", 1).buffer
    data = bytes(model.buffers[constant].data)
    model.buffers[constant] = schema.BufferT(data=None, offset=2, size=len(data))
    start = len(edit.packed(model))
    model.buffers[constant].offset = start
    with pytest.raises(EvaluationError, match="stored behind the flatbuffer"):
        stripped(edit.packed(model) + data)


def test_only_sources_of_tflq_are_removed(tmp_path: Path) -> None:
    (tmp_path / "net.cc").write_text("// Written by tflq from net.tflite")
    (tmp_path / "net.h").write_text("// mine")
    (tmp_path / "net_golden.cc").write_text("// Written by tflq from net.tflite")
    assert list(old_sources(tmp_path, "net", kept=("net_golden.cc",))) == ["net.cc"]


@pytest.fixture(scope="module")
def with_artifacts(recipes: Recipes) -> Ran:
    plain = {"bias_correction": "off", "rounding": "off", "equalization": "off", "headroom": 1}
    artifacts = {"c_array": True, "strip": True}
    return recipes.run("tiny_conv", ["int8_only"], artifacts=artifacts, converter=plain)


def test_a_run_writes_the_sources_of_the_stripped_file(with_artifacts: Ran) -> None:
    (variant,) = with_artifacts.result.variants
    assert variant.error is None
    assert variant.file is not None
    path = with_artifacts.output / variant.file.name
    names = [path.stem + suffix for suffix in (".cc", ".h", "_golden.cc", "_golden.h")]
    assert list(variant.artifacts) == names == with_artifacts.report["variants"][0]["artifacts"]
    assert path.stat().st_size == variant.file.size_bytes
    assert f"{variant.file.size_bytes} bytes, SHA-256 {variant.file.sha256}" in path.with_suffix(".cc").read_text()
    assert {tensor.name for tensor in flatbuffer.load(path).subgraphs[0].tensors} == {""}
    assert "constexpr std::size_t kGoldenCount = 3;" in (with_artifacts.output / names[3]).read_text()
    assert f"`{names[1]}`" in with_artifacts.page

"""Compile a file for an Arm Ethos-U with the compiler Vela, if it is installed.

Vela refuses almost nothing: it leaves an op that the accelerator lacks to the CPU. So the compiled file says which ops
these are. Some files kill Vela, so it runs in a child process.
"""

from __future__ import annotations

import csv
import math
import re
import signal
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from tflq import flatbuffer, leftovers
from tflq.cost_model import multiply_adds, operator_multiply_adds
from tflq.errors import EvaluationError
from tflq.flatbuffer import Graph
from tflq.targets.memory_plan import memory_plan
from tflq.targets.op_problem import OpProblem
from tflq.targets.schema import VelaOptions
from tflq.targets.tools import vela_version

VELA_EXTRA = "tflq[ethos-u]"
"""The extra that installs the compiler."""
COMPILED = "ethos-u"
"""The custom op in a compiled file that holds everything that runs on the accelerator."""
_TIMEOUT = 1800
"""The seconds after which the compiler is stopped."""
_INPUT = "net.tflite"
"""The name under which the compiler sees the file, which may have any name."""
_KIBIBYTE = 1024
_WARNING = re.compile(r"^Warning \(supported operators\) operator: (\S+), ofm: '(.*)'\nReason: (.*)$", re.MULTILINE)
_TENSOR = re.compile(r"(unsupported DataType \w+) \(.*\)$")
"""A reason that ends with the name of a tensor, which differs from op to op."""
_ACTIVATION = "_act"
"""The suffix that the compiler adds to the name of a tensor between an op and its fused activation."""
_REFUSED = re.compile(r"^(?:[\w.]*(?:CliOptionError|InputFileError)|vela: error): (.*)$", re.MULTILINE)
"""The message about a configuration that the compiler does not have."""
_ERROR = re.compile(r"^[\w.]*(?:Error|Exception): (?:Compilation failed: )?(?:Error: )?(.*)", re.MULTILINE | re.DOTALL)
_MAX_ERROR = 300
_QUOTES = "\"'"


@dataclass(frozen=True)
class VelaRun:
    """The result of the compiler for a file."""

    configuration: str
    """The compiler with its version, the accelerator and the names of its configuration."""
    error: str = ""
    """Why it cannot compile the file; empty if all is well."""
    on_cpu: tuple[OpProblem, ...] = ()
    """The ops that it left to the CPU, in the order of the graph."""
    share: float = 0.0
    """The share of the multiply-adds in those ops, from 0 to 1."""
    sram_bytes: int | None = None
    """The memory on the chip in one call, with the tensors of ops on the CPU if these are kept there too."""
    dram_bytes: int = 0
    """The memory outside the chip, with the weights; 0 if the configuration has none."""
    flash_bytes: int | None = None
    """The size of the compiled file."""
    milliseconds: float | None = None
    """The estimated time of a call without the ops on the CPU; None if all ops run on the CPU."""
    cycles: int | None = None


def run_vela(path: Path, name: str, options: VelaOptions, command: tuple[str, ...]) -> VelaRun:
    """Compile the file for the target of that name. A file that cannot be compiled is an error in the result.

    EvaluationError if Vela does not have the configuration of the target.
    """
    accelerator = options.accelerator or name
    names = (f"Vela {vela_version()}".strip(), accelerator, options.system_config, options.memory_mode)
    run = VelaRun(", ".join(names))
    arguments = (
        *("--accelerator-config", accelerator, "--system-config", options.system_config),
        *("--memory-mode", options.memory_mode, "--config", str(options.config or "Arm/vela.ini")),
        *("--output-dir", "."),
    )
    with leftovers.own_folder(leftovers.RUN) as folder:
        Path(folder, _INPUT).symlink_to(path.absolute())
        try:
            ended = subprocess.run(
                [*command, _INPUT, *arguments],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                timeout=_TIMEOUT,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return replace(run, error=f"the compiler Vela did not end within {_TIMEOUT} seconds")
        if refused := _REFUSED.search(ended.stderr):
            raise EvaluationError(f"target {name}: Vela refuses its configuration: {refused[1].strip(_QUOTES)}")
        if ended.returncode:
            return replace(run, error=_error(ended.returncode, ended.stderr))
        return _read(run, path, Path(folder), ended.stdout)


def _read(run: VelaRun, path: Path, folder: Path, printed: str) -> VelaRun:
    """Return the run with what the compiler wrote into the folder and printed."""
    compiled, table = next(folder.glob("*_vela.tflite"), None), next(folder.glob("*_summary_*.csv"), None)
    if compiled is None or table is None:
        return replace(run, error="the compiler Vela wrote no file, and does not say why")
    content = compiled.read_bytes()
    graph, options = flatbuffer.read(content), flatbuffer.operator_options(content)
    with table.open(encoding="utf-8", newline="") as lines:
        figures = next(csv.DictReader(lines))
    plan = memory_plan(graph, options)
    planned, dram = plan.activation_bytes + plan.variable_bytes, _bytes(figures, "dram_memory_used")
    sram, seconds = _bytes(figures, "sram_memory_used"), float(figures["inference_time"])
    has_compiled = any(operator.type == COMPILED for _, operator in graph.operators())
    total = max(multiply_adds(flatbuffer.load(path)), 1)
    on_cpu = [place for place in graph.operators() if place[1].type != COMPILED]
    return replace(
        run,
        on_cpu=tuple(_problems(graph, printed)),
        share=min(sum(operator_multiply_adds(*place) for place in on_cpu) / total, 1.0),
        sram_bytes=sram if dram else max(sram, planned),
        dram_bytes=dram,
        flash_bytes=len(content),
        milliseconds=1000 * seconds if has_compiled and math.isfinite(seconds) else None,
        cycles=int(float(figures["cycles_total"])) if has_compiled else None,
    )


def _problems(graph: Graph, printed: str) -> Iterator[OpProblem]:
    said = dict[tuple[str, str], str]()
    for type_, name, reason in _WARNING.findall(printed):
        said[type_, name.removesuffix(_ACTIVATION)] = said["", name] = _TENSOR.sub(r"\1", reason)
    for subgraph, operator in graph.operators():
        if operator.type != COMPILED:
            name = subgraph.name_of(operator)
            # The warning about an op with a fused activation may be about that activation.
            reason = said.get((operator.type, name)) or said.get(("", name)) or "Vela does not say why"
            yield OpProblem(operator.type, name, reason)


def _bytes(figures: Mapping[str, str], name: str) -> int:
    return round(float(figures[name]) * _KIBIBYTE)


def _error(code: int, printed: str) -> str:
    if code < 0:
        return f"the compiler Vela cannot compile it: it ended with {signal.Signals(-code).name}"
    found = _ERROR.search(printed)
    lines = (found[1] if found else printed).splitlines()
    said = "; ".join(line.strip(" -.") for line in lines if line.strip())
    return f"the compiler Vela cannot compile it: {said[:_MAX_ERROR] or f'it ended with code {code}'}"

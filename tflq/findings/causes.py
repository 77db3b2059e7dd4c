"""The most likely cause of a ruined output, from one look at the activations of a few samples along the graph."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from tflq.datasets import Sample
from tflq.errors import TflqError
from tflq.evaluate.measuring import batches
from tflq.evaluate.plan import EvaluationPlan, stack
from tflq.findings.kept_ops import in_float, ops_to_keep, weighted
from tflq.findings.op_causes import LayerEvidence, LikelyCause, cause_at
from tflq.flatbuffer import Graph, Subgraph, integers_of, load
from tflq.layerwise import BAD_LOSS_DB, Activation, LocalLoss, align, compare, first_bad, is_bad, losses
from tflq.metrics.channel_figures import Channels
from tflq.metrics.estimate import EQUAL_DB
from tflq.modes import QAT_MODES
from tflq.op_selectors import shortest_name
from tflq.result import Finding
from tflq.scores import LowOutput
from tflq.worker import ProgressCallback


@dataclass(frozen=True)
class RuinedFile:
    """A file with ruined outputs, and the samples on which its activations are compared."""

    plan: EvaluationPlan
    indices: Sequence[int]
    """The rows, in increasing order."""
    origin: Path
    """The float32 file that the file was made from. It is equalized if the file is."""
    path: Path
    mode: str
    low: tuple[LowOutput, ...]
    channels: Mapping[str, Channels]
    """Output name → its channels, of outputs with dead or saturated ones."""
    constants: tuple[Finding, ...]
    """The findings about constants of the file."""
    calls: int
    """The largest number of calls of which all activations are compared, at least 1."""
    folder: Path
    has_good_int16: bool = True
    """False if a file of the run with int16 activations is ruined, so that this mode is no remedy."""


@dataclass(frozen=True)
class Explanation:
    """The findings about the ruined outputs of a file, and what they rest on."""

    findings: tuple[Finding, ...]
    activations: tuple[Activation, ...]
    """The compared activations; none if they cannot be compared."""
    calls: int
    """The number of calls in which they were compared."""


def explain(report: ProgressCallback, request: RuinedFile) -> Explanation:
    """Return a finding for each ruined output, with the most likely cause and what to try."""
    calls = list(_calls(request))
    try:
        activations = compare(report, (request.origin, request.path), calls, request.folder)
    except TflqError as error:
        obstacle = f"the cause was not found, because the activations cannot be compared: {error}"
        return Explanation(tuple(without_cause(request, obstacle)), (), 0)
    return Explanation(_with_causes(request, activations), activations, len(calls))


def _with_causes(request: RuinedFile, activations: Sequence[Activation]) -> tuple[Finding, ...]:
    graph, compared = load(request.origin), {each.tensor: each for each in activations}
    aligned = align(graph, load(request.path))
    evidence = LayerEvidence(
        graph, request.mode, compared, request.has_good_int16, weighted(aligned), in_float(graph, aligned)
    )
    outputs = {f"output {name!r}": name for name, _ in graph.signatures[0].outputs}
    found = []
    for finding in without_cause(request, ""):
        output = outputs[finding.where]
        if finding.kind == "dead channels":
            cause = _cause_before(evidence, output)
        elif finding.kind != "saturated channels":
            cause = cause_along(evidence, output, request.constants)
        else:
            cause = SATURATED_AFTER_TRAINING if request.mode in QAT_MODES else SATURATED
        found.append(replace(finding, cause=cause.text, remedy=cause.remedy, tensor=cause.tensor))
    return tuple(found)


SATURATED = LikelyCause(
    "the calibration samples do not show the range of these values",
    "Add samples like those of evaluation to calibration, or set ranges: minmax or headroom",
    None,
)
SATURATED_AFTER_TRAINING = LikelyCause(
    "the ranges come from training, whose samples do not show these values or whose outputs went elsewhere",
    "Train for more epochs, or with samples like those of evaluation",
    None,
)


def without_cause(request: RuinedFile, obstacle: str) -> Iterator[Finding]:
    """Yield a finding for each ruined output. `obstacle` stands for its cause: why that was not found."""
    low = {output.name for output in request.low}
    for output in request.low:
        yield Finding(output.verdict, f"output {output.name!r}", output.in_words, obstacle)
    for name, channels in request.channels.items():
        for kind, indices, words in (
            ("dead channels", channels.dead, "are dead: they vary in the float32 file, but are constant in this file"),
            (
                "saturated channels",
                channels.saturated,
                "are saturated: many values are at an end of the file's range, where the float values are not",
            ),
        ):
            if indices and not (kind == "saturated channels" and name in low):  # there the whole output is ruined
                message = f"has {_counted(indices, channels.count)} that {words}"
                yield Finding(kind, f"output {name!r}", message, obstacle)  # type: ignore[arg-type]


def _calls(request: RuinedFile) -> Iterator[Sample]:
    for _, samples in islice(batches(request.plan, request.indices), request.calls):
        yield stack(samples, request.plan.source)


def _counted(channels: Sequence[int], count: int) -> str:
    listed = ", ".join(map(str, channels[:8])) + (" …" if len(channels) > 8 else "")
    return f"{len(channels)} of {count} channels ({listed})"


def _cause_before(evidence: LayerEvidence, output: str) -> LikelyCause:
    """Return why channels of the output share a scale that is too coarse for some of them, and what helps."""
    graph = evidence.graph
    subgraph = graph.subgraphs[0]
    tensor = integers_of(subgraph, subgraph.tensors[_tensor(graph, output)])
    writer = next((operator for operator in subgraph.operators if tensor.index in operator.outputs), None)
    if writer is None:
        return LikelyCause("", _of_unlike("", evidence), tensor.name)
    cause = cause_at(evidence, writer.index)
    text = cause.text if cause else f"all channels of {tensor.name.split(';')[0]!r} share one scale"
    is_kept = evidence.mode in QAT_MODES or writer.index in evidence.in_float
    keeps = f"keep the last {writer.type} in float (keep_float: ['{shortest_name(graph, writer.index)}'])"
    return LikelyCause(text, _of_unlike("" if is_kept else keeps, evidence), tensor.name)


def _of_unlike(in_float: str, evidence: LayerEvidence) -> str:
    """Return what helps where channels of unlike scale share one."""
    first = "Divide the larger values by their range in the model"
    int16 = "use mode int16x8" if evidence.has_good_int16 and evidence.bits == 8 else ""
    *others, last = [each for each in ("return them as an output of their own", in_float, int16) if each]
    return f"{', '.join([first, *others])}, or {last}"


def _tensor(graph: Graph, output: str) -> int:
    """Return the tensor of that output."""
    (signature, *_) = graph.signatures
    return dict(signature.outputs)[output]


def cause_along(evidence: LayerEvidence, output: str, constants: Sequence[Finding]) -> LikelyCause:
    """Return the cause at the first op before the output that loses much, or say that no single op does.

    In a file with float16 constants, all ops compute in float, so that a changed constant is the cause.
    """
    before = _ops_before(evidence.graph.subgraphs[0], _tensor(evidence.graph, output))
    along = [loss for loss in losses(evidence.graph, tuple(evidence.activations.values())) if loss.operator in before]
    bad = first_bad(along)
    worst = bad or max(along, key=lambda loss: loss.relevant_loss_db, default=None)
    changed = constants[0] if constants else None
    if changed and (evidence.mode == "float16" or worst is None):
        return _changed(changed)
    if worst is None:
        return LikelyCause("", "", None)
    has_cause = worst.relevant_loss_db >= BAD_LOSS_DB and cause_at(evidence, worst.operator)
    if not (bad or has_cause or changed) and len(along) > 1:
        return _gradual(along, evidence)
    return _at_loss(evidence, (worst, *(each for each in along if is_bad(each) and each is not worst)), changed)


def _gradual(along: Sequence[LocalLoss], evidence: LayerEvidence) -> LikelyCause:
    """Return that all ops together are the cause."""
    first, last = (_in_words(each.after_db) for each in (along[0], along[-1]))
    facts = (
        f"no single op loses much, but the errors of {len(along)} ops add up: the output of the first op"
        f" {first}, and that of the last one {last}"
    )
    return LikelyCause(facts, _of_all(evidence), None)


GRADUAL_REMEDIES = {
    **dict.fromkeys(QAT_MODES, "Train for more epochs, or with a smaller learning rate"),
    **dict.fromkeys(("dynamic", "dynamic4"), "Use mode weights8 or float16"),
    **dict.fromkeys(("weights8", "int16x8", "int16x8_only"), "Use mode float16"),
    "float16": "Use mode float32",
}
"""Mode → what helps where no single op is the cause."""


def _changed(constant: Finding) -> LikelyCause:
    return LikelyCause(f"{constant.where} {constant.message}", constant.remedy, constant.tensor)


def _at_loss(evidence: LayerEvidence, bad: Sequence[LocalLoss], changed: Finding | None) -> LikelyCause:
    """Return the cause at the first of the bad ops."""
    graph, (loss, *others) = evidence.graph, bad
    operator, name = graph.subgraphs[0].operators[loss.operator], shortest_name(graph, loss.operator)
    facts = (
        f"the first op that loses much is #{loss.operator} {operator.type} {name!r}: its worst input"
        f" {_in_words(loss.before_db)}, its output {_in_words(loss.after_db)}"
    )
    if others:
        facts += f", and {len(others)} other op{'s lose' if len(others) > 1 else ' loses'} much, too"
    read = {tensor.name for tensor in graph.subgraphs[0].read_by(operator)}
    found = cause_at(evidence, loss.operator) or (_changed(changed) if changed and changed.tensor in read else None)
    remedy = _remedy(evidence, [each.operator for each in bad])
    if found is None:
        (tensor, *_) = (graph.subgraphs[0].tensors[index].name for index in operator.outputs)
        return LikelyCause(facts, remedy, tensor)
    if found.remedy:
        remedy = f"{found.remedy}. Or {remedy[:1].lower()}{remedy[1:]}"
    return LikelyCause(f"{facts}; {found.text}", remedy, found.tensor)


MOST_KEPT = 8
"""The most ops that a remedy names to be kept in float."""


def _remedy(evidence: LayerEvidence, bad: Sequence[int]) -> str:
    """Return what helps against the losses of these ops."""
    mode, kept = evidence.mode, ops_to_keep(evidence, bad)
    int16 = ". Or use mode int16x8" if mode.startswith("int8") and evidence.has_good_int16 else ""
    if not kept or mode == "float16" or mode in QAT_MODES:  # nothing is left to keep, or the mode can keep none
        return _of_all(evidence)
    if len(kept) <= MOST_KEPT:
        listed = ", ".join(f"'{shortest_name(evidence.graph, op)}'" for op in kept)
        if kept == [bad[0]]:
            return f"Keep it in float (keep_float: [{listed}]); tflq sensitivity measures what that wins{int16}"
        return f"Keep these ops in float: keep_float: [{listed}]{int16}"
    if not evidence.has_integer_activations:
        return _of_all(evidence)
    modes = f" --modes {mode}" if mode else ""
    return f"`tflq search RECIPE{modes} --min-sqnr 20` finds which ops to keep in float{int16}"


def _of_all(evidence: LayerEvidence) -> str:
    """Return what helps if the ops as a whole are the cause."""
    int16 = "Use mode int16x8, or train" if evidence.has_good_int16 else "Train"
    return GRADUAL_REMEDIES.get(evidence.mode, f"{int16} with mode qat_int8")


def _in_words(sqnr_db: float) -> str:
    if sqnr_db <= -EQUAL_DB:
        return "has an infinite error"
    return "is exact" if sqnr_db >= EQUAL_DB else f"has {sqnr_db:.1f} dB"


def _ops_before(subgraph: Subgraph, tensor: int) -> set[int]:
    """Return the ops that the tensor depends on."""
    wanted, found = {tensor}, set[int]()
    for operator in reversed(subgraph.operators):
        if wanted & {*operator.outputs}:
            found.add(operator.index)
            wanted |= {*operator.inputs}
    return found

"""What a run yields, as frozen values: the fields of report.json, gates and the exit code included."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from tflq.calibrate import RangeComparison
from tflq.contract import FloatOp
from tflq.errors import TflqError
from tflq.flatbuffer import Weights
from tflq.inputs import InputSummary
from tflq.interpreter import LatencyStats
from tflq.refine import RefinementReport
from tflq.rules import Violation
from tflq.training import Phase

Status = Literal["ok", "failed", "broken", "error"]


@dataclass(frozen=True)
class Port:
    """An input or output of a file: real = (q − zero_point) · scale where it has a scale."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    scale: float | None
    zero_point: int | None


@dataclass(frozen=True)
class Score:
    """The metric of a file; `drop` is against the float32 .tflite on the same samples."""

    name: str
    value: float
    drop: float
    ci95: tuple[float, float]
    samples: int
    samples_needed: int | None
    """Samples that would settle whether the drop is above its bar, where these do not."""


@dataclass(frozen=True)
class Output:
    """The fidelity of one output to the float32 .tflite's; None stands for no difference at all."""

    sqnr_db: float | None
    cosine: float
    max_abs_error: float
    mse: float
    agreement: float | None
    """The share of samples with the float32 file's top class; None where the output is not a row of classes."""


@dataclass(frozen=True)
class Gate:
    name: str
    bar: float
    measured: float | None
    passed: bool
    certain: bool
    """Whether the samples were enough to tell; always true of what is not a sampled figure."""

    @property
    def in_words(self) -> str:
        measured = "nothing to measure it by" if self.measured is None else f"{self.measured:.6g}"
        return f"{self.name} is {self.bar:g}, measured: {measured}"


@dataclass(frozen=True)
class File:
    """A finished .tflite, as read from its bytes."""

    name: str
    sha256: str
    size_bytes: int
    ops: dict[str, int]
    float_ops: tuple[FloatOp, ...]
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]


@dataclass(frozen=True)
class Measured:
    """What running a file over the samples showed."""

    metric: Score | None
    fidelity: dict[str, Output]
    latency_ms: LatencyStats | None


@dataclass(frozen=True)
class CompressionStats:
    """What pruning and clustering are for."""

    gzip_bytes: int
    weights: tuple[Weights, ...]

    @property
    def zeros(self) -> float:
        """The share of all weights that are zero."""
        sizes = [math.prod(one.shape) for one in self.weights]
        return sum(size * one.zeros for size, one in zip(sizes, self.weights, strict=True)) / max(sum(sizes), 1)


@dataclass(frozen=True)
class Gain:
    """A trained variant against the one that was made of the source in the same mode."""

    against: str
    value: float
    """What is better in the metric, positive whichever way is up; negative where training cost accuracy."""
    lost: float
    """What the other variant loses against the float32 .tflite."""

    @property
    def share(self) -> float | None:
        """Of the loss that was won back; None where there was none."""
        return self.value / self.lost if self.lost > 0 else None

    @property
    def in_words(self) -> str:
        if self.share is None:
            told = f"is better by {self.value:.4f} than" if self.value > 0 else f"loses {-self.value:.4f} more than"
            return f"{'is as good as' if self.value == 0 else told} {self.against}, which loses nothing"
        if self.value <= 0:
            return f"wins back nothing of the {self.lost:.4f} that {self.against} loses ({self.value:+.4f})"
        return f"wins back {self.value:.4f} of the {self.lost:.4f} that {self.against} loses ({self.share:.0%})"


@dataclass(frozen=True)
class TrainingReport:
    """How trained variants came about."""

    dataset: str
    samples: int
    of: int | None
    """Rows that the dataset holds; None where that cannot be told without reading it all."""
    loss: str
    from_logits: bool | None
    """Of a cross-entropy: whether the model answers logits."""
    metric: str
    phases: tuple[Phase, ...]
    skipped_layers: tuple[str, ...]
    seconds: float


@dataclass(frozen=True)
class Variant:
    """A row of the report: one variant of the recipe, made or not."""

    name: str
    mode: str | None
    """None for a file that was made elsewhere."""
    file: File | None = None
    size_ratio: float | None = None
    measured: Measured | None = None
    gates: tuple[Gate, ...] = ()
    violations: tuple[Violation, ...] = ()
    error: TflqError | None = None
    is_reproduced: bool | None = None
    """Whether the file had the same bytes when it was made again; None where it was not."""
    seconds: float = 0.0
    is_trained: bool = False
    compression: CompressionStats | None = None
    refinement: RefinementReport | None = None
    """What was done before it was quantized; None where nothing was asked for."""
    gain: Gain | None = None

    @property
    def has_integers(self) -> bool:
        """Whether its mode asks for integer activations, so that ops left in float are worth a word."""
        return self.mode is not None and "int" in self.mode

    @property
    def exit_code(self) -> int:
        broken = any(violation.severity == "error" for violation in self.violations)
        failed = any(not gate.passed for gate in self.gates)
        return max(self.error.exit_code if self.error else 0, 6 if broken else 0, 1 if failed else 0)

    @property
    def status(self) -> Status:
        if self.error:
            return "error"
        return {0: "ok", 1: "failed"}.get(self.exit_code, "broken")  # type: ignore[return-value]

    @property
    def why(self) -> str:
        """In a line, why this variant is not ok; empty where it is."""
        if self.error:
            return str(self.error)
        faults = [f"{v.where} {v.message}" for v in self.violations if v.severity == "error"]
        faults += [gate.in_words for gate in self.gates if not gate.passed]
        return faults[0] + (f" (and {len(faults) - 1} more)" if len(faults) > 1 else "") if faults else ""


@dataclass(frozen=True)
class Data:
    """Samples that were used, and from where."""

    dataset: str
    samples: int
    of: int | None
    """Rows that the dataset holds; None where that cannot be told without reading it all."""
    inputs: tuple[InputSummary, ...]


FoundBy = Literal["observation", "TensorFlow's calibrator", "the public converter", "quantization-aware training"]
"""The public converter finds ranges for each file anew."""


@dataclass(frozen=True)
class RangeReport:
    """How the ranges of activations were found, once for all variants."""

    method: str
    found_by: FoundBy
    reason: str | None
    """Why they could not be observed."""
    activations: int | None
    clips: tuple[RangeComparison, ...]
    """Activations with rare values far from the rest, and what each method keeps of their ranges."""


@dataclass(frozen=True)
class Baseline:
    """The source run in TensorFlow on the evaluation samples, and the float32 file that all is compared with."""

    source_bytes: int
    source_metric: float | None
    source_error: str | None
    float32_bytes: int
    float32_metric: float | None
    fidelity: dict[str, Output]
    """The source's answers against the float32 file's."""


@dataclass(frozen=True)
class Stage:
    name: str
    seconds: float


@dataclass(frozen=True)
class Run:
    """What the work took."""

    seconds: float
    peak_rss_bytes: int
    """Of the largest process."""
    stages: tuple[Stage, ...]


@dataclass(frozen=True)
class Result:
    """Everything that one recipe yielded."""

    name: str
    recipe: str
    """As resolved, in YAML."""
    environment: dict[str, str]
    warnings: tuple[str, ...]
    calibration: Data | None
    range_report: RangeReport | None
    evaluation: Data
    metric: str | None
    """The metric's name."""
    baseline: Baseline
    variants: tuple[Variant, ...]
    run: Run
    training: TrainingReport | None = None

    @property
    def exit_code(self) -> int:
        """The gravest of the variants'."""
        return max((variant.exit_code for variant in self.variants), default=0)

"""A file and its figures, as frozen values. The fields are keys of report.json."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from tflq.activation_widths import Int16Op
from tflq.contract import FloatOp
from tflq.firmware.io_row import IoRow
from tflq.flatbuffer import SparseWeights, Weights
from tflq.interpreter import LatencyStats
from tflq.metrics.channel_figures import Channels
from tflq.result.answers_report import AnswersReport


@dataclass(frozen=True)
class Port:
    """An input or output of a file. If it has a scale, real = (q − zero_point) · scale."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    scale: float | None
    zero_point: int | None


@dataclass(frozen=True)
class Score:
    """The metric of a file. `drop` is the loss against the float32 .tflite on the same samples."""

    name: str
    value: float
    drop: float
    ci95: tuple[float, float]
    """The 95 % confidence interval of the drop."""
    samples: int
    samples_needed: int | None
    """The number of samples that would show whether the drop passes its gate; None if these samples show it."""


@dataclass(frozen=True)
class Output:
    """The fidelity of one output to the output of the float32 .tflite."""

    sqnr_db: float | None
    """The signal-to-quantization-noise ratio in dB; None if there is no difference."""
    cosine: float
    """The cosine similarity, as the mean over samples."""
    max_abs_error: float
    """The largest absolute error of one element, in the unit of the output."""
    mse: float
    agreement: float | None
    """The share of samples with the same top class as the float32 file; None if the output has no classes."""
    centered_sqnr_db: float | None = None
    """The SQNR if the signal is the deviation from the mean; None if there is no difference, or no deviation."""
    channels: Channels | None = None
    """The fidelity by channel; None for the source and the float32 file, and for an output with one channel."""
    psnr_db: float | None = None
    """The peak signal-to-noise ratio in dB; None if the output is not an image, or if there is no difference."""
    peak: float | None = None
    """The peak of the PSNR: the range of the float32 file's output; None if the output is not an image."""


@dataclass(frozen=True)
class File:
    """A finished .tflite file; all fields are read from its bytes."""

    name: str
    sha256: str
    size_bytes: int
    ops: dict[str, int]
    float_ops: tuple[FloatOp, ...]
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    work: float = 0.0
    """The estimated work of one call on a CPU, in multiply-adds of int8 kernels."""
    io: tuple[IoRow, ...] = ()
    """The I/O card: inputs and outputs in the order of the file."""
    int16_ops: tuple[Int16Op, ...] = ()
    """The ops with 16-bit activations in a file of 8-bit activations."""
    sparse_weights: tuple[SparseWeights, ...] = ()
    """The constants that are stored sparsely."""
    needs: tuple[str, ...] = ()
    """The requirements of the file on the runtime, beside kernels for its ops, each as a clause."""


@dataclass(frozen=True)
class FileFigures:
    """The measurements of a file on the evaluation samples."""

    samples: int
    """The number of samples that the metric and the fidelity are from."""
    metric: Score | None
    fidelity: dict[str, Output]
    latency_ms: LatencyStats | None
    answers: AnswersReport | None = None
    """The answers beside those of the float32 file; None for a copy of the float32 file. Only report.html has them."""


FindingKind = Literal["broken", "poor", "dead channels", "saturated channels", "constant", "size"]


@dataclass(frozen=True)
class Finding:
    """A fact about a file that makes it worse than it looks, with its cause and what to try."""

    kind: FindingKind
    where: str
    message: str
    """The fact. After `where` it makes a sentence."""
    cause: str = ""
    """The most likely cause, as a sentence without a full stop; empty if it was not found."""
    remedy: str = ""
    """What to try, as a sentence without a full stop; empty if nothing is known."""
    tensor: str | None = None
    """The name of the constant or of the activation that the cause is in; None if there is none."""
    before: float | None = None
    """The value of the constant in the float32 file, and in this file; None for other findings."""
    after: float | None = None

    @property
    def in_words(self) -> str:
        """The finding, its cause and its remedy. A broken output is told among the violations, so it is left out."""
        fact = self.where if self.kind == "broken" else f"{self.where} {self.message}"
        parts = [": ".join(part for part in (fact, self.cause) if part), self.remedy]
        return ". ".join(part for part in parts if part)


@dataclass(frozen=True)
class CompressionStats:
    """The compressed size of a file, and the zeros and distinct values of its weights."""

    gzip_bytes: int
    weights: tuple[Weights, ...]

    @property
    def zeros(self) -> float:
        """The share of all weights that are zero, from 0 to 1."""
        sizes = [math.prod(weights.shape) for weights in self.weights]
        zeros = sum(size * weights.zeros for size, weights in zip(sizes, self.weights, strict=True))
        return zeros / max(sum(sizes), 1)

"""Result → the section of report.md on training: the recovered accuracy, the epochs and the weights."""

from __future__ import annotations

from collections.abc import Iterator

from tflq.report.table import markdown_table, size
from tflq.result import Result, TrainingReport, Variant


def training(result: Result) -> Iterator[str]:
    """Yield the blocks of the section; nothing if no variant was trained."""
    if result.training is None:
        return
    yield "## Training"
    gains = [f"- **{variant.name}** {variant.gain.in_words}" for variant in result.variants if variant.gain]
    if gains:
        yield "\n".join(gains)
    yield setup(result.training)
    yield markdown_table(
        ("technique", "epoch", "loss", "accuracy", "validation", "", "s"), list(epochs(result.training))
    )
    yield from _weights(result)


def setup(report: TrainingReport) -> str:
    """Return how the models were trained, in sentences."""
    total = f" of {report.of:,}" if report.of is not None else ""
    kind = {True: " on logits", False: " on probabilities", None: ""}[report.from_logits]
    resumed = sum(phase.resumed_after for phase in report.phases)
    skipped, left = ", ".join(report.skipped_layers), ", ".join(report.left_in_float)
    return (
        f"The training took {report.seconds:.1f} s on {report.samples:,}{total} samples of {report.dataset}."
        f" Loss: {report.loss.replace('_', ' ')}{kind}. Accuracy: {report.metric.replace('_', ' ')}."
        + (f" An interrupted run had already completed {resumed} epoch{'s' * (resumed > 1)}." if resumed else "")
        + (f" The techniques skipped these layers: {skipped}." if skipped else "")
        + (f" Training cannot quantize these layers without weights: {left}." if left else "")
    )


def epochs(report: TrainingReport) -> Iterator[tuple[str, ...]]:
    """Yield a row for each epoch."""
    for phase in report.phases:
        for number, epoch in enumerate(phase.epochs, 1):
            validation = [epoch.validation_loss, epoch.validation_metric]
            cells = ["" if value is None else f"{value:.4f}" for value in validation]
            label = f"{number} (kept)" if number == phase.kept else str(number)
            yield (phase.technique, label, f"{epoch.loss:.4f}", f"{epoch.metric:.4f}", *cells, f"{epoch.seconds:.1f}")


def _weights(result: Result) -> Iterator[str]:
    rows = [_file(variant) for variant in result.variants if variant.compression]
    if rows:
        yield "## Weights"
        yield (
            "Zeros and repeated values do not make the .tflite file smaller. They make the compressed file (gzip)"
            " smaller, and the output of tools such as Vela. Distinct is the number of distinct stored values. In"
            " brackets is the largest number in one output channel, because each channel has its own scale or its own"
            " folded batch normalization."
        )
        yield markdown_table(("file", "size", "gzip", "zeros"), rows)
        yield markdown_table(("file", "op", "tensor", "shape", "zeros", "distinct"), list(_layers(result)))


def _file(variant: Variant) -> tuple[str, ...]:
    if variant.file is None or variant.compression is None:
        return (variant.name, "", "", "")
    compression = variant.compression
    return (variant.name, size(variant.file.size_bytes), size(compression.gzip_bytes), f"{compression.zeros:.1%}")


def _layers(result: Result) -> Iterator[tuple[str, ...]]:
    for variant in result.variants:
        for weights in variant.compression.weights if variant.compression and variant.is_trained else ():
            distinct = str(weights.distinct)
            if weights.distinct_per_channel != weights.distinct:
                distinct += f" ({weights.distinct_per_channel} in a channel)"
            shape = "×".join(map(str, weights.shape))
            tensor = f"`{weights.tensor.split(';')[0]}`"
            yield (variant.name, weights.op, tensor, shape, f"{weights.zeros:.1%}", distinct)

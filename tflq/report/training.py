"""Result → the part of report.md that tells of training: what it won back, how it went, what became of the weights."""

from __future__ import annotations

from collections.abc import Iterator

from tflq.report.table import markdown_table, size
from tflq.result import Result, TrainingReport, Variant


def training(result: Result) -> Iterator[str]:
    """The blocks of the section; none where nothing was trained."""
    if result.training is None:
        return
    yield "## Training"
    gains = [f"- **{variant.name}** {variant.gain.in_words}" for variant in result.variants if variant.gain]
    if gains:
        yield "\n".join(gains)
    yield _how(result.training)
    yield markdown_table(
        ("technique", "epoch", "loss", "accuracy", "validation", "", "s"), list(_epochs(result.training))
    )
    yield from _weights(result)


def _how(given: TrainingReport) -> str:
    of = f" of {given.of}" if given.of is not None else ""
    kind = {True: ", of logits", False: ", of probabilities", None: ""}[given.from_logits]
    resumed = sum(phase.resumed_after for phase in given.phases)
    return (
        f"Trained for {given.seconds:.1f} s on {given.samples}{of} samples of {given.dataset}, by"
        f" {given.loss.replace('_', ' ')}{kind}; accuracy: {given.metric.replace('_', ' ')}."
        + (f" A run that was interrupted had done {resumed} epoch{'s' * (resumed > 1)} of it." if resumed else "")
        + (f" Left as they were: {', '.join(given.skipped_layers)}." if given.skipped_layers else "")
    )


def _epochs(given: TrainingReport) -> Iterator[tuple[str, ...]]:
    for phase in given.phases:
        for number, epoch in enumerate(phase.epochs, 1):
            validation = [epoch.validation_loss, epoch.validation_metric]
            shown = ["" if value is None else f"{value:.4f}" for value in validation]
            kept = f"{number} (kept)" if number == phase.kept else str(number)
            yield (phase.technique, kept, f"{epoch.loss:.4f}", f"{epoch.metric:.4f}", *shown, f"{epoch.seconds:.1f}")


def _weights(result: Result) -> Iterator[str]:
    rows = [_file(variant) for variant in result.variants if variant.compression]
    if rows:
        yield "## Weights"
        yield (
            "Zeros and values that repeat leave the file as large as it was; what shrinks is what is sent (gzip), and"
            " what tools such as Vela make of it. Distinct: of the stored values, and the most in one output channel,"
            " since each has a scale of its own, or a batch normalization folded into it."
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
        for one in variant.compression.weights if variant.compression and variant.is_trained else ():
            distinct = str(one.distinct)
            if one.distinct_per_channel != one.distinct:
                distinct += f" ({one.distinct_per_channel} in a channel)"
            shape = "×".join(map(str, one.shape))
            yield (variant.name, one.op, f"`{one.tensor.split(';')[0]}`", shape, f"{one.zeros:.1%}", distinct)

"""The preprocessing of an input in words, for those who write it again in another language."""

from __future__ import annotations

from collections.abc import Iterator

from tflq.inputs.schema import Input, PerChannel


def in_words(config: Input) -> str:
    """Return the steps in their order, in one line; empty if the values are used as they are."""
    return ", then ".join(_steps(config))


def _steps(config: Input) -> Iterator[str]:
    resize = config.resizing
    if resize is not None:
        height, width = resize.size
        how = f"{resize.method}{', with antialiasing' if resize.antialias and resize.method != 'nearest' else ''}"
        if config.crop == "center":
            yield f"resize until the image just covers {height}×{width} ({how}) and keep its center"
        else:
            yield f"resize to {height}×{width} (height×width, {how})"
    if config.channels != "rgb":
        yield "swap the channels to BGR" if config.channels == "bgr" else "make it grayscale"
    if (config.mean, config.std) != (None, None):
        mean, std = ("0" if config.mean is None else _text(config.mean)), _text(config.std or 1.0)
        yield f"(value - {mean}) / {std}"
    elif (config.scale, config.offset) != (None, None):
        scale, offset = _text(config.scale or 1.0), "0" if config.offset is None else _text(config.offset)
        yield f"value * {scale} + {offset}"
    if config.layout == "nchw":
        yield "move the channels first (NCHW)"


def _text(part: PerChannel) -> str:
    return f"[{', '.join(f'{each:g}' for each in part)}]" if isinstance(part, tuple) else f"{part:.9g}"

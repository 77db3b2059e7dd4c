"""The recipe's `inputs`: how a row of the dataset becomes a model input."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    Discriminator,
    Field,
    FiniteFloat,
    PositiveInt,
    Tag,
    field_validator,
    model_validator,
)
from typing_extensions import Self

from tflq.inputs.geometry import Method, Size
from tflq.inputs.quantization import InputQuantization, for_pixels
from tflq.strict import AsTuple, Strict, or_words


def _one(part: float | tuple[float, ...] | None) -> float | None:
    """Return the one number; 0 if none is given; None if there are several."""
    if isinstance(part, tuple):
        return part[0] if len(set(part)) == 1 else None
    return part or 0.0


def _form(value: Any) -> str:
    return (
        "<mapping>" if isinstance(value, (dict, Strict)) else "<list>" if isinstance(value, (list, tuple)) else "<one>"
    )


def _pair(value: Any) -> Any:
    if not isinstance(value, (list, tuple)) or len(value) != 2:
        raise ValueError("should be [height, width]")
    return tuple(value)


def _limits(value: Any) -> Any:
    if not isinstance(value, (list, tuple)) or len(value) != 2:
        raise ValueError("should be [lowest, highest]")
    return tuple(value)


SizeField = Annotated[tuple[PositiveInt, PositiveInt], BeforeValidator(_pair)]
PerChannel = Annotated[
    Annotated[FiniteFloat, Tag("<one>")]
    | Annotated[tuple[FiniteFloat, ...], Field(min_length=1), AsTuple, Tag("<list>")],
    Discriminator(lambda value: "<list>" if _form(value) == "<list>" else "<one>"),
]
"""One number, or one number per channel."""


class Resize(Strict):
    """A target size and an interpolation method. Pixel centers are at half coordinates, as in tf.image.resize."""

    size: SizeField = Field(description="[height, width]")
    method: Method = Field("bilinear", description="The interpolation method.")
    antialias: bool = Field(
        True,
        description="Smooth an image before it is made smaller. `nearest` never does. tf.image.resize does not do so by"
        " default.",
    )

    @model_validator(mode="after")
    def _bicubic_is_antialiased(self) -> Self:
        if self.method == "bicubic" and not self.antialias:
            raise ValueError("bicubic needs antialias: remove antialias: false, or use bilinear")
        return self


class Input(Strict):
    """Preprocessing of one model input. Order: resize and crop, channels, scale and offset, layout."""

    column: str | None = Field(
        None,
        description="Column of the dataset. Default: the input's name. If the model has one input, the default is the"
        " only numeric column besides the label.",
    )
    resize: (
        Annotated[
            Annotated[SizeField, Tag("<list>")] | Annotated[Resize, Tag("<mapping>")],
            Discriminator(lambda value: "<mapping>" if _form(value) == "<mapping>" else "<list>"),
        ]
        | None
    ) = Field(None, description="[height, width], which is bilinear with antialiasing, or {size, method, antialias}.")
    crop: Literal["none", "center"] = Field(
        "none", description="`center`: resize the image until it just covers the size, then keep its center."
    )
    scale: PerChannel | None = Field(
        None, description="value * scale + offset in float32. One number, or one per channel."
    )
    offset: PerChannel | None = Field(None, description="See `scale`.")
    mean: PerChannel | None = Field(
        None, description="(value - mean) / std in float32, instead of `scale` and `offset`."
    )
    std: PerChannel | None = Field(None, description="See `mean`.")
    channels: Literal["rgb", "bgr", "grayscale"] = Field(
        "rgb",
        description="Channels that the model expects. Images are read as RGB. A grayscale image is repeated if the"
        " model takes 3 channels.",
    )
    layout: Literal["nhwc", "nchw"] = Field(
        "nhwc", description="Layout that the model expects. Images in rows are [height, width, channels]."
    )
    range: Annotated[tuple[FiniteFloat, FiniteFloat], BeforeValidator(_limits)] | None = Field(
        None, description="[lowest, highest] value that the model expects. Calibration samples outside are an error."
    )
    shape: Annotated[tuple[PositiveInt | None, ...], AsTuple] | None = Field(
        None, description="The whole shape, batch first. Needed if the signature leaves sizes open."
    )

    quantization: Annotated[
        InputQuantization | Literal["pixels"] | None, or_words("a mapping such as {scale: 1/255}", "pixels")
    ] = Field(
        None,
        description="How integer inputs of the file are quantized. Default: by calibration. `pixels`: so that uint8"
        " pixels are fed as they are, and int8 ones minus 128.",
    )

    @property
    def size(self) -> Size | None:
        """The height and width that images are resized to, in pixels; None if they are not resized."""
        return self.resize.size if isinstance(self.resize, Resize) else self.resize

    def known_shape(self, given: tuple[int | None, ...] | None) -> tuple[int | None, ...] | None:
        """Return the shape that the recipe gives, or the model's own with the height and width of `resize`."""
        if self.shape is not None or given is None or self.size is None:
            return self.shape or given
        rows, columns = (1, 2) if self.layout == "nhwc" else (2, 3)
        sizes = {rows: self.size[0], columns: self.size[1]}
        return tuple(sizes.get(i) if size is None else size for i, size in enumerate(given))

    @property
    def scaling(self) -> tuple[float, float] | None:
        """The scale and the offset of all values; None if they differ between channels."""
        scale, offset, mean, std = (_one(part) for part in (self.scale, self.offset, self.mean, self.std))
        if scale is None or offset is None or mean is None or std is None:
            return None
        factor = (scale or 1.0) / (std or 1.0)
        return factor, offset - mean * factor

    def quantized_as(self, dtype: str) -> InputQuantization:
        """Return what `quantization`, which must be given, is for inputs of that dtype.

        Raise ValueError if pixels cannot be fed as they are.
        """
        assert self.quantization is not None
        if isinstance(self.quantization, InputQuantization):
            return self.quantization
        assert self.scaling is not None
        return for_pixels(dtype, self.scaling)

    @property
    def resizing(self) -> Resize | None:
        return Resize(size=self.resize) if isinstance(self.resize, tuple) else self.resize

    @field_validator("scale", "std")
    @classmethod
    def _not_zero(cls, value: Any) -> Any:
        if 0 in (value if isinstance(value, tuple) else (value,)):
            raise ValueError("must not be 0")
        return value

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        errors = list(self._errors())
        if errors:
            raise ValueError("; ".join(errors))
        return self

    def _errors(self) -> Iterator[str]:
        if (self.scale, self.offset) != (None, None) and (self.mean, self.std) != (None, None):
            yield "give scale and offset, or mean and std, not both"
        if self.crop == "center" and self.resize is None:
            yield "crop: center needs resize, the size to crop to"
        lengths = {len(value) for value in (self.scale, self.offset, self.mean, self.std) if isinstance(value, tuple)}
        if len(lengths) > 1:
            yield "the lists of numbers per channel differ in length"
        if self.channels == "grayscale" and lengths - {1}:
            yield "channels: grayscale gives one channel: give one number, not a list of several"
        if self.range is not None and self.range[0] >= self.range[1]:
            yield "range: should be [lowest, highest], the lower number first"
        if self.shape is not None and None in self.shape[1:]:
            yield "shape: only the batch, which comes first, may be null"
        if self.quantization == "pixels" and self.scaling is None:
            yield "quantization: pixels needs one scale and offset, or mean and std, for all channels"
        yield from self._errors_of_size()

    def _errors_of_size(self) -> Iterator[str]:
        if self.size is None or self.shape is None:
            return
        height_and_width = self.shape[1:3] if self.layout == "nhwc" else self.shape[2:4]
        if len(self.shape) != 4 or height_and_width != self.size:
            yield f"resize gives {list(self.size)}, but shape is {list(self.shape)}"

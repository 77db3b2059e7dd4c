"""A target as data: what a runtime or an accelerator has of the ops of a .tflite file. It is read from a YAML file."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt, PositiveInt

from tflq.strict import AsTuple, FileName, RecipePath, Strict

Names = Annotated[tuple[str, ...], AsTuple]
Positions = Annotated[tuple[NonNegativeInt, ...], AsTuple]
Otherwise = Literal["does not run", "falls back", "ends the partition"]


class OptionLimit(Strict):
    """The values of an option of an op that the target has."""

    one_of: Annotated[tuple[int, ...], AsTuple] | None = Field(None, description="The values, as the schema has them.")
    min: int | None = Field(None, description="The smallest value.")
    max: int | None = Field(None, description="The largest value.")
    same_as: str | None = Field(None, description="Another option, which must have the same value.")
    reason: str = Field("", description="The condition in words. Default: the option and its value.")


class OpRule(Strict):
    """The conditions under which the target has an op. A condition that is not given is always met."""

    types: Names | None = Field(None, description="The dtypes of the input that decides the kernel.")
    input: NonNegativeInt = Field(0, description="The position of the input that decides the kernel.")
    weights: dict[str, Names] = Field({}, description="For each dtype of that input, the dtypes of the weights.")
    max_version: PositiveInt | None = Field(None, description="The largest version of the op.")
    max_rank: PositiveInt | None = Field(None, description="The largest number of dimensions.")
    constant: Positions = Field((), description="The positions of inputs that must be constants.")
    per_channel: bool = Field(True, description="`false`: constants must have one scale.")
    same_scales: bool = Field(False, description="`true`: quantized inputs must have the scale of the output.")
    options: dict[str, OptionLimit] = Field({}, description="Limits of the options of the op, by the schema's names.")
    slow: Names = Field((), description="The dtypes for which the op runs, but in a slow kernel.")
    not_checked: str = Field("", description="A condition that tflq does not check. It is shown as not known.")


class VelaOptions(Strict):
    """The options of the compiler Vela for an Arm Ethos-U."""

    accelerator: str | None = Field(None, description="Its `--accelerator-config`. Default: the name of the target.")
    system_config: str = Field(description="Its `--system-config`, which has the clock and the memories.")
    memory_mode: str = Field(description="Its `--memory-mode`, which says what lies in which memory.")
    config: RecipePath | None = Field(None, description="Your own `vela.ini`. Default: the one that Vela brings.")


class Target(Strict):
    """A runtime or an accelerator: its ops, its conditions, and where these were found."""

    name: FileName = Field(description="The name that recipes and commands use.")
    also: Names = Field((), description="Other names of this target.")
    title: str = Field(description="What it is, in a few words.")
    source: str = Field(description="Where the table was found.")
    date: str = Field(description="When the table was found, such as 2026-11-27.")
    table_of: str | None = Field(None, description="A target of `tflq targets`, which has the keys that are not given.")
    otherwise: Otherwise = Field(
        description="What an op that the target lacks means: `does not run`: the file does not run there;"
        " `falls back`: the op runs on the CPU; `ends the partition`: it and all ops after it run on the CPU.",
    )
    leading: Names = Field((), description="With `ends the partition`: ops at the start that may run on the CPU.")
    every: OpRule = Field(OpRule(), description="Conditions of every op that is not in `exempt`.")
    exempt: Names = Field((), description="Ops that `every` does not apply to.")
    open_sizes: Literal["any", "first", "none", "as 1"] = Field(
        "any",
        description="Which sizes may change: `first` is that of the first dimension. `as 1`: each is taken as 1.",
    )
    inner_dimensions: PositiveInt | None = Field(
        None, description="The number of innermost dimensions that may be larger than 1."
    )
    inline_constants: bool = Field(False, description="`true`: constants must be inside the flatbuffer.")
    memory: Literal["tflm"] | None = Field(None, description="`tflm`: RAM is planned as TensorFlow Lite Micro does.")
    vela: dict[str, VelaOptions] = Field(
        {}, description="For each name of the target, the options of the compiler Vela. It needs `tflq[ethos-u]`."
    )
    built_in: bool = Field(False, description="`true`: every built-in op is there, whether it is in `ops` or not.")
    not_checked: Names = Field((), description="Conditions that tflq does not check. They are shown as not known.")
    not_known: dict[str, str] = Field({}, description="Ops for which the sources do not say, with the reason.")
    ops: dict[str, OpRule] = Field({}, description="The ops that the target has, with their conditions.")

    @property
    def vela_options(self) -> VelaOptions | None:
        """The options of Vela for the target of this name; None if Vela does not compile for it."""
        return self.vela.get(self.name)

    @property
    def has_memory(self) -> bool:
        """Whether the memory of a call is known: planned, or told by a compiler."""
        return self.memory is not None or self.vela_options is not None

"""A Result made by hand, with a variant of every status: what reports are rendered from."""

from __future__ import annotations

from dataclasses import replace

from tflq.activation_widths import Int16Op
from tflq.calibrate.data_checks import RangeComparison
from tflq.calibrate.lower_masks import LoweredMask, MaskReport
from tflq.contract import FloatOp
from tflq.errors import ConversionError
from tflq.firmware.io_row import IoRow
from tflq.flatbuffer import SparseWeights, Weights
from tflq.inputs.checks import InputSummary
from tflq.interpreter import LatencyStats
from tflq.metrics.channel_figures import Channels
from tflq.result import (
    Baseline,
    CompressionStats,
    DatasetReport,
    File,
    FileFigures,
    Finding,
    Gain,
    Gate,
    Output,
    Port,
    RangeReport,
    Result,
    Run,
    Score,
    Stage,
    TrainingReport,
    Variant,
)
from tflq.rules.violation import Violation
from tflq.targets.memory_plan import MemoryPlan, PlannedTensor
from tflq.targets.micro_run import MicroRun
from tflq.targets.op_problem import OpProblem
from tflq.targets.target_verdict import TargetVerdict
from tflq.targets.vela import VelaRun
from tflq.training.outcome import Epoch, Phase

ENVIRONMENT = {"tflq": "0.1.0", "python": "3.11.7", "tensorflow": "2.21.0"}


def file(mode: str, size_bytes: int, dtype: str, float_ops: tuple[FloatOp, ...] = ()) -> File:
    scale, zero_point = (None, None) if dtype == "float32" else (0.5, -128)
    return File(
        name=f"net-{mode}.tflite",
        sha256="0" * 64,
        size_bytes=size_bytes,
        ops={"CONV_2D": 2, "SIN": 1},
        float_ops=float_ops,
        inputs=(Port("image", dtype, (1, 8, 8, 1), scale, zero_point),),
        outputs=(Port("logits", dtype, (-1, 10), scale, zero_point),),
        io=(
            IoRow(
                "in", 0, "image", dtype, (1, 8, 8, 1), scale, zero_point, "q = x", "q = x", "in = x;", "value * 2 + 0"
            ),
            IoRow("out", 0, "logits", dtype, (-1, 10), scale, zero_point, "x = q", "x = q", ""),
        ),
    )


def measured(value: float, sqnr_db: float | None, samples_needed: int | None = None) -> FileFigures:
    drop = 0.98 - value
    score = Score("top1", value, drop, (drop - 0.01, drop + 0.01), 500, samples_needed)
    by_channel = None if sqnr_db is None else Channels(10, 3, sqnr_db - 4, (None, *[sqnr_db] * 9), (), (3,))
    output = Output(sqnr_db, 0.999, 0.25, 0.0001, 0.99, sqnr_db and sqnr_db - 0.5, by_channel)
    outputs = {"logits": output}
    if sqnr_db == 21.4:
        outputs["mask|"] = Output(30.0, 0.9995, 12.5, 4.0, None, psnr_db=36.1, peak=255.0)
    return FileFigures(500, score, outputs, LatencyStats(0.0125, 0.02, 50, 1, "LiteRT 2.3.0, XNNPACK"))


FLOAT32 = Variant("float32", "float32", file("float32", 108_064, "float32"), 1.0, measured(0.98, None), seconds=1.5)
FAR = Finding("poor", "output 'logits'", "is far from the float32 file's output", "a cause", "a cure")
POOR = replace(FLOAT32, findings=(FAR,))
LACKING = TargetVerdict(
    target="micro",
    outcome="does not run",
    problems=(OpProblem("GELU", "net/gelu;net/add", "the target does not have this op"),),
    outside=1,
    operators=3,
    share=0.25,
    slow=(),
    slow_share=0.0,
    not_known=("SIN: its limits are not known",),
    flash_bytes=34_328,
    plan=MemoryPlan((PlannedTensor("image", 1024, 0, 1, 0), PlannedTensor("conv", 512, 1, 2, 1024)), 64),
    source="its page, 2026-01-01",
    run=MicroRun(3, error="TensorFlow Lite Micro cannot run it: there is no op GELU"),
)
COMPILED = replace(
    LACKING,
    target="ethos-u55-128",
    not_known=(),
    plan=None,
    run=None,
).with_compiled(
    VelaRun(
        "Vela 5.2.0, ethos-u55-128, High_End, Shared_Sram",
        on_cpu=(OpProblem("DEQUANTIZE", "logits", "Unsupported opType"),),
        share=0.002,
        sram_bytes=36_000,
        flash_bytes=30_000,
        milliseconds=1.25,
        cycles=625_000,
    )
)
MIXED = replace(
    file("int8", 34_328, "float32", (FloatOp("SIN", "net/sin", "the quantizer knows no integer version of this op"),)),
    int16_ops=(Int16Op("CONV_2D", "net/a|b/Conv2D"),),
    sparse_weights=(SparseWeights("FULLY_CONNECTED", "net/dense", "int8", (10, 48), 0.9, 130, 350),),
    needs=("an interpreter without a delegate",),
)
FAILED_GATE = Variant(
    "int8",
    "int8",
    MIXED,
    0.318,
    measured(0.94, 21.5),
    gates=(Gate("max_metric_drop", 0.02, 0.04, passed=False, certain=True),),
    targets=(LACKING, COMPILED),
    findings=(
        Finding(
            "dead channels",
            "output 'logits'",
            "has 1 of 10 channels (3) that are dead: they vary in the float32 file, but are constant in this file",
            "CONCATENATION 'net/logits': it gives one scale to ranges that differ 640-fold",
            "Use mode int16x8",
            "net/logits",
        ),
        Finding(
            "constant",
            "constant 'net/mean' of SUB",
            "changed beyond rounding: 101325 became 65504",
            "float16 has no value beyond 65,504",
            "Do the Normalization outside of the model",
            "net/mean",
            101_325.0,
            65_504.0,
        ),
    ),
)
BROKEN = Variant(
    "edge",
    "int8_only",
    file("edge", 33_992, "int8", (FloatOp("SIN", "net/sin", "the quantizer knows no integer version of this op"),)),
    0.315,
    measured(0.97, 21.4, samples_needed=2418),
    violations=(
        Violation("V11", "SIN 'net/sin'", "stays in float: the quantizer knows no integer version of this op", "error"),
        Violation("V4", "CONV_2D 'net/a|b'", "has a scale of 1e-9", "warning"),
    ),
)
TRAINED = Variant(
    "qat_int8",
    "qat_int8",
    file("qat_int8", 33_112, "float32"),
    0.306,
    measured(0.97, 8.5),
    is_trained=True,
    compression=CompressionStats(
        14_600,
        (
            Weights("CONV_2D", "net/a|b/Conv2D;net/fold", "int8", (16, 3, 3, 1), 0.5, 36, 7),
            Weights("FULLY_CONNECTED", "net/dense", "int8", (10, 48), 0.25, 16, 16),
        ),
    ),
    gain=Gain("int8", 0.03, 0.04),
)
ERROR = Variant(
    "int16x8_only",
    "int16x8_only",
    error=ConversionError(
        "there is no kernel with 16-bit activations for 'SIN'; mode int16x8 leaves such ops in float"
    ),
)

RESULT = Result(
    name="net",
    recipe="name: net\nvariants: [float32]\n",
    environment=ENVIRONMENT,
    warnings=("calibration.samples asks for 200, the dataset has 60: all were used",),
    range_report=RangeReport(
        "minmax",
        "observation",
        None,
        12,
        (RangeComparison("conv/Relu", -1.0, 812.5, 1.0, 0.0125, 0.25),),
        MaskReport((LoweredMask("attention/mask", -1e9, -30.0),), 60),
    ),
    calibration=DatasetReport(
        "npz images.npz", 60, 60, (InputSummary("image", "float32", 3, 60, 0.0, 1.0, 0.5, 0.25, False),)
    ),
    evaluation=DatasetReport("npz images.npz", 500, 500, ()),
    metric="top1",
    baseline=Baseline(319_488, 0.98, None, 108_064, 0.98, {"logits": Output(120.0, 1.0, 1e-6, 1e-14, 1.0)}, 500),
    variants=(FLOAT32, FAILED_GATE, BROKEN, TRAINED, ERROR),
    run=Run(12.25, 400_000_000, (Stage("read the source", 0.75), Stage("convert int8", 1.25))),
    training=TrainingReport(
        dataset="npz train.npz",
        samples=1000,
        of=1200,
        loss="sparse_categorical_crossentropy",
        from_logits=True,
        metric="sparse_categorical_accuracy",
        phases=(
            Phase("prune", (Epoch(0.5, 0.9, 0.4, 0.92, 1.25), Epoch(0.4, 0.91, 0.45, 0.9, 0.75)), 1, 1),
            Phase("quantize", (Epoch(0.45, 0.9, None, None, 1.5),), 1, 0),
        ),
        skipped_layers=("stem", "logits"),
        unchanged_kernels=("depthwise",),
        left_in_float=("scaled",),
        seconds=12.5,
    ),
)

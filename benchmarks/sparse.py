"""Dense and sparse files of a pruned network, without corrections: bytes, time, outputs, and runtimes.

`python -m benchmarks.sparse`: a network of convolutions and dense layers with random weights, of which the smallest are
zero, alone or in blocks of four along the inputs. Outputs are compared with those of the
dense file, both without LiteRT's default delegate (XNNPACK).
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from tflq.flatbuffer import ROLES, constants, edit

TFLQ = [sys.executable, "-c", "from tflq.cli import main; main()"]
SHARES = (0.5, 0.8, 0.9)
BLOCKS = (1, 4)
CALLS = 20
FILES = ("float32", "sparse_float32", "int8", "sparse_int8")
MODEL = """\
import sys
import keras
from keras import layers
keras.utils.set_random_seed(0)
keras.Sequential([
    layers.Input((32, 32, 3), name="image"),
    layers.Conv2D(64, 3, strides=2, padding="same", activation="relu"),
    layers.Conv2D(128, 1, activation="relu"),
    layers.Conv2D(128, 3, padding="same", activation="relu"),
    layers.Conv2D(64, 1, activation="relu"),
    layers.MaxPooling2D(4), layers.Flatten(), layers.Dense(128, activation="relu"), layers.Dense(10),
]).export(sys.argv[1], verbose=False)
"""
RECIPE = """\
model: {model}
variants:
  - float32
  - {{mode: float32, name: sparse_float32, sparse: "on"}}
  - int8
  - {{mode: int8, name: sparse_int8, sparse: "on"}}
converter: {{bias_correction: "off"}}
calibration: {{dataset: {{npz: images.npz}}, samples: all}}
evaluation: {{dataset: {{npz: images.npz}}, samples: all}}
output: {output}
"""


def main() -> None:
    print("| zeros | in blocks of | file | bytes | ms | ms without delegate | outputs | default interpreter |")
    print("| ---: | ---: | --- | ---: | ---: | ---: | --- | --- |")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        subprocess.run([sys.executable, "-c", MODEL, str(folder / "net")], check=True, capture_output=True)
        images = np.random.default_rng(0).random((20, 32, 32, 3), np.float32)
        np.savez(folder / "images.npz", allow_pickle=False, image=images)
        _convert(folder, folder / "net", "dense")
        for share in SHARES:
            for block in BLOCKS:
                for line in _lines(folder, images[:4], share, block):
                    print(line, flush=True)


def _convert(folder: Path, model: Path, output: str) -> dict[str, Any]:
    """Convert the model, and return the variants of the report by name."""
    recipe = folder / f"{output}.yaml"
    recipe.write_text(RECIPE.format(model=model, output=output))
    subprocess.run([*TFLQ, "convert", str(recipe)], capture_output=True, check=False)
    return {each["name"]: each for each in json.loads((folder / output / "report.json").read_text())["variants"]}


def _lines(folder: Path, images: np.ndarray, share: float, block: int) -> Iterator[str]:
    output = f"zeros{share * 100:.0f}_{block}"
    pruned = folder / f"{output}.tflite"
    _prune(folder / "dense/dense-float32.tflite", share, block, pruned)
    variants = _convert(folder, pruned, output)
    answers: dict[str, list[np.ndarray]] = {}
    for name in FILES:
        file, variant = folder / output / f"{output}-{name}.tflite", variants[name]
        answers[name], plain = _run_plainly(file, images)
        runs = _default(file)
        ms = f"{variant['latency_ms']['median']:.2f}" if runs == "runs" else "–"
        cells = [f"{variant['size_bytes']:,}", ms, f"{plain:.2f}", _likeness(name, answers), runs]
        yield f"| {share:.0%} | {block} | {name} | {' | '.join(cells)} |"


def _run_plainly(file: Path, images: np.ndarray) -> tuple[list[np.ndarray], float]:
    """Return the answers without the default delegate, and the median time of a call in milliseconds."""
    kernels = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = Interpreter(model_path=str(file), num_threads=1, experimental_op_resolver_type=kernels)
    interpreter.allocate_tensors()
    place, output = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
    answers, times = [], []
    for number in range(CALLS):
        interpreter.set_tensor(place, images[number % len(images)][np.newaxis])
        started = time.perf_counter()
        interpreter.invoke()
        times.append(time.perf_counter() - started)
        answers.append(interpreter.get_tensor(output))
    return answers[: len(images)], float(np.median(times)) * 1000


def _prune(float32: Path, share: float, block: int, target: Path) -> None:
    """Write the file with that share of the weights at zero: those of the smallest magnitude, summed in blocks."""
    model = edit.unpack(float32.read_bytes())
    for subgraph in model.subgraphs:
        for operator in subgraph.operators:
            roles = ROLES.get(edit.type_of(model.operatorCodes[operator.opcodeIndex]))
            tensor = subgraph.tensors[operator.inputs[roles.weights]] if roles else None
            if tensor is None or tensor.shape[-1] % block or not constants.is_float32_constant(model, tensor):
                continue
            values = constants.float32_values(model, tensor).copy()
            groups = values.reshape(-1, block)
            sizes = np.abs(groups).sum(1)
            groups[sizes < np.quantile(sizes, share)] = 0
            tensor.buffer = constants.add_buffer(model, values)
    edit.drop_unused_buffers(model)
    edit.write(model, target)


def _likeness(name: str, answers: dict[str, list[np.ndarray]]) -> str:
    dense = answers[name.removeprefix("sparse_")]
    pairs = list(zip(dense, answers[name], strict=True))
    if dense is answers[name]:
        return ""
    if all(np.array_equal(*pair) for pair in pairs):
        return "equal to the dense file's"
    noise, signal = (
        sum(np.square(one - other).sum() for one, other in pairs),
        sum(np.square(one).sum() for one in dense),
    )
    return f"{10 * np.log10(signal / noise):.0f} dB from the dense file's"


def _default(file: Path) -> str:
    """Return whether an interpreter with its default delegate prepares the file."""
    try:
        Interpreter(model_path=str(file)).allocate_tensors()
    except RuntimeError as error:
        return f"refuses: {str(error).strip().partition('Node')[0][:60]}"
    return "runs"


if __name__ == "__main__":
    main()

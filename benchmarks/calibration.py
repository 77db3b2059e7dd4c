"""Calibration per sample: plain float interpreter, ours, LiteRT's calibrating profiler, TensorFlow's calibrator.

Each way is a process of its own over the same samples, several times in turn; only the calls are timed, after one that
is not, so that what it takes to load the model is no one's gain.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from benchmarks import synthetic

SAMPLES, ROUNDS = 40, 5
Arrays = dict[str, np.ndarray]


def samples(size: int) -> Iterator[Arrays]:
    for picture in synthetic.pictures(SAMPLES, size):
        yield {"image": picture[np.newaxis].astype(np.float32) / 255}


def plain(float32: Path) -> Callable[[Arrays], object]:
    from tflq.interpreter import Runner

    return Runner(float32)


def observed(float32: Path) -> Callable[[Arrays], object]:
    from tflq.calibrate.observe import add_min_max_outputs
    from tflq.interpreter import Runner

    return Runner(add_min_max_outputs(float32, float32.with_suffix(".observable")))


def profiled(float32: Path) -> Callable[[Arrays], object]:
    """As litert-quantizer calls it in its fastest mode."""
    from ai_edge_litert import _pywrap_tfl_calibration as profiler
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(
        str(float32),
        num_threads=1,
        experimental_disable_delegate_node_fusion=True,
        experimental_force_delegate_node_profiling=True,
    )
    interpreter.allocate_tensors()
    (index,) = [detail["index"] for detail in interpreter.get_input_details()]

    def call(arrays: Arrays) -> object:
        interpreter.set_tensor(index, arrays["image"])
        return profiler.InvokeWithCalibration(interpreter._native_handle(), 0)

    return call


def by_tensorflow(float32: Path) -> Callable[[Arrays], object]:
    from tensorflow.lite.python.optimize import calibrator

    made = calibrator.Calibrator(calibrator.add_intermediate_tensors(float32.read_bytes()))
    fed: list[bool] = []

    def call(arrays: Arrays) -> object:
        if not fed:
            made._calibrator.Prepare([list(array.shape) for array in arrays.values()])
        fed.append(True)
        return made._calibrator.FeedTensor(list(arrays.values()))

    return call


WAYS = {
    "plain float interpreter": plain,
    "observed": observed,
    "LiteRT's calibrating profiler": profiled,
    "TensorFlow's calibrator": by_tensorflow,
}


def report(float32: Path, size: int) -> list[str]:
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(ROUNDS):
        for way in WAYS:
            seconds[way].append(_timed(way, float32, size))
    base = statistics.median(seconds["plain float interpreter"])
    lines = ["| one sample, one thread | ms, median | min | max | of the first |", "| --- | --- | --- | --- | --- |"]
    for way, taken in seconds.items():
        middle, least, most = (1000 / SAMPLES * value for value in (statistics.median(taken), min(taken), max(taken)))
        ratio = statistics.median(taken) / base
        lines.append(f"| {way} | {middle:.2f} | {least:.2f} | {most:.2f} | {ratio:.2f} |")
    return [*lines, "", *_sharded(float32, size)]


def _timed(way: str, float32: Path, size: int) -> float:
    command = [sys.executable, "-m", "benchmarks.calibration", way, str(float32), str(size)]
    ran = subprocess.run(command, check=False, capture_output=True, text=True)
    if ran.returncode:
        raise SystemExit(f"{way}: {ran.stderr[-2000:]}")
    return float(ran.stdout.splitlines()[-1])


def _sharded(float32: Path, size: int) -> list[str]:
    """The observation in one process and in two at a time, the work the same."""
    command = [sys.executable, "-m", "benchmarks.calibration", "observed", str(float32), str(size)]
    taken: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(3):
        for count in taken:
            start = time.perf_counter()
            running = [
                subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for _ in range(count)
            ]
            for process in running:
                process.wait()
            taken[count].append((time.perf_counter() - start) / count)
    ratio = statistics.median(taken[1]) / statistics.median(taken[2])
    return [f"Two processes at a time observe {ratio:.2f} times as many samples in the same time as one."]


def main() -> None:
    way, float32, size = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, "float32.tflite")
        copy.write_bytes(Path(float32).read_bytes())
        call = WAYS[way](copy)
        arrays = list(samples(int(size)))
        call(arrays[0])
        start = time.perf_counter()
        for one in arrays:
            call(one)
        print(time.perf_counter() - start)


if __name__ == "__main__":
    main()

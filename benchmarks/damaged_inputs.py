"""The kinds of damaged inputs: how a case is written into the present folder, and the command line that reads it."""

from __future__ import annotations

import io
import random
import shutil
import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import google_crc32c
import numpy as np

from benchmarks.mutations import damaged, mutated

ROOT = Path(__file__).parent.parent
RECIPES = tuple(
    sorted([*ROOT.glob("tests/recipes/good/*.yaml"), *ROOT.glob("configs/*.yaml"), *ROOT.glob("examples/*/*.yaml")])
)
DATA = ROOT / "tests/data"
FILES = tuple(sorted(DATA.glob("cnn_*.tflite")))
LOOP = DATA / "loop_float32.tflite"
ZOO = """\
kind: zoo
output: build
defaults:
  mode: int8
  calibration:
    dataset:
      npz: data.npz
    samples: 16
models:
- net
- model: other.keras
  name: second
  mode: float16
- recipe: good.yaml
"""
GOOD = "model: net\nmode: float16\n"
SHORT = "model: {model}\nmode: float16\nlatency: off\n"
CALIBRATED = """\
model: net
calibration: {{dataset: {dataset}, samples: 8, ranges: minmax}}
variants: [{{mode: int8, bias_correction: "off"}}]
latency: off
"""
LOCK = """\
schema_version: 1
name: net
versions: {tflq: 1.0.0, tensorflow: 2.21.0}
recipe: {model: 0123456789abcdef, variants: 0123456789abcdef}
model: 0123456789abcdef
data: {}
files:
  net.tflite:
    sha256: 0123456789abcdef
    size_bytes: 4000
    exit_code: 0
    metric: 0.5
    metric_reach: 0.01
    sqnr_db: {scores: 40.0}
"""
REFUSED = frozenset((0, 2, 3, 4, 5, 6, 7))
"""The exit codes of a damaged input."""
REFUSED_OR_WORSE = REFUSED | {1}
"""The same if the command also fails a file that is worse or not as it was."""

Case = Callable[[random.Random], None]


@dataclass(frozen=True)
class Kind:
    """A kind of cases. `write` writes one into the present folder, where `prepare` has written the rest."""

    prepare: Callable[[], None]
    write: Case
    command: tuple[str, ...]
    names: tuple[str, ...]
    """A message must have one of these."""
    codes: frozenset[int] = REFUSED
    has_workers: bool = False
    """Whether the command runs worker processes, which import TensorFlow."""


def _neighbours() -> None:
    """Write what a recipe may name. It is only looked for, and not read."""
    Path("net").mkdir()
    Path("net/saved_model.pb").touch()
    Path("good.yaml").write_text(GOOD, encoding="utf-8")
    for name in ("net.keras", "other.keras", "data.npz"):
        Path(name).touch()


def _recipe(draw: random.Random) -> None:
    _write_text("net.yaml", draw.choice(RECIPES).read_text(encoding="utf-8"), draw)


def _zoo(draw: random.Random) -> None:
    _write_text("net.yaml", ZOO, draw)


def _write_text(name: str, text: str, draw: random.Random) -> None:
    Path(name).write_bytes(mutated(text, draw).encode("utf-8", "surrogatepass"))


def _file(draw: random.Random) -> None:
    Path("net.tflite").write_bytes(damaged(draw.choice((*FILES, LOOP)).read_bytes(), draw))


def _other_file() -> None:
    _neighbours()
    shutil.copy(FILES[0], "other.tflite")


def _locked() -> None:
    _neighbours()
    Path("build/net").mkdir(parents=True)
    Path("net.yaml").write_text(GOOD, encoding="utf-8")


def _lock_or_file(draw: random.Random) -> None:
    """Damage the lock or a file that it names, at random."""
    shutil.copy(FILES[0], "build/net/net.tflite")
    _write_text("build/net/tflq.lock", LOCK, draw)
    if draw.randrange(2):
        Path("build/net/net.tflite").write_bytes(damaged(FILES[0].read_bytes(), draw))


def _evaluated() -> None:
    shutil.copytree(DATA / "net", "net")
    Path("net.yaml").write_text(SHORT.format(model="net"), encoding="utf-8")


def _evaluated_file(draw: random.Random) -> None:
    Path("net.tflite").write_bytes(damaged(draw.choice(FILES).read_bytes(), draw))


def _recipe_of(model: str) -> Callable[[], None]:
    def write() -> None:
        Path("net.yaml").write_text(SHORT.format(model=model), encoding="utf-8")

    return write


def _saved_model(draw: random.Random) -> None:
    """Damage a file of the SavedModel, or remove it."""
    shutil.rmtree("net", ignore_errors=True)
    shutil.copytree(DATA / "net", "net")
    files = sorted(path for path in Path("net").rglob("*") if path.is_file())
    _damage_or_remove(draw.choice(files), draw)


def _damage_or_remove(path: Path, draw: random.Random) -> None:
    if draw.randrange(8):
        path.write_bytes(damaged(path.read_bytes(), draw))
    else:
        path.unlink()


def _keras(draw: random.Random) -> None:
    """Damage the archive, or a part of it inside a whole archive."""
    content = (DATA / "net.keras").read_bytes()
    Path("net.keras").write_bytes(damaged(content, draw) if draw.randrange(2) else _with_damaged_part(content, draw))


def _with_damaged_part(content: bytes, draw: random.Random) -> bytes:
    archive = zipfile.ZipFile(io.BytesIO(content))
    chosen = draw.choice(archive.namelist())
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as copy:
        for name in archive.namelist():
            part = archive.read(name)
            copy.writestr(name, damaged(part, draw) if name == chosen else part)
    return stream.getvalue()


def _h5(draw: random.Random) -> None:
    Path("net.h5").write_bytes(damaged((DATA / "net.h5").read_bytes(), draw))


def _on(dataset: str) -> Callable[[], None]:
    def prepare() -> None:
        shutil.copytree(DATA / "net", "net")
        Path("net.yaml").write_text(CALIBRATED.format(dataset=dataset), encoding="utf-8")

    return prepare


def _npz(draw: random.Random) -> None:
    stream, pixels = io.BytesIO(), np.random.default_rng(0).normal(size=(12, 8, 8, 3)).astype(np.float32)
    (np.savez if draw.randrange(2) else np.savez_compressed)(stream, image=pixels)
    content = stream.getvalue()
    Path("data.npz").write_bytes(damaged(content, draw) if draw.randrange(2) else _with_damaged_part(content, draw))


def _records(draw: random.Random) -> None:
    """Damage the file, or an example inside a whole record."""
    examples = [_example(np.random.default_rng(row).normal(size=192).astype(np.float32)) for row in range(12)]
    if is_inside := draw.randrange(2):
        row = draw.randrange(len(examples))
        examples[row] = damaged(examples[row], draw)
    content = b"".join(_record(example) for example in examples)
    Path("data.tfrecord").write_bytes(content if is_inside else damaged(content, draw))


def _example(values: np.ndarray) -> bytes:
    """Return a tf.train.Example with one feature of floats."""
    floats = _field(2, _field(1, values.tobytes()))
    return _field(1, _field(1, _field(1, b"image") + _field(2, floats)))


def _field(number: int, content: bytes) -> bytes:
    """Return a length-delimited field of a protocol buffer."""
    length, size = b"", len(content)
    while size > 127:
        length, size = length + bytes([size & 127 | 128]), size >> 7
    return bytes([number << 3 | 2]) + length + bytes([size]) + content


def _record(content: bytes) -> bytes:
    length = struct.pack("<Q", len(content))
    return length + _checksum(length) + content + _checksum(content)


def _checksum(content: bytes) -> bytes:
    """Return the masked CRC of TFRecord files."""
    crc = google_crc32c.value(content)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def _pictures(draw: random.Random) -> None:
    """Damage one picture of five."""
    from PIL import Image

    Path("photos").mkdir(exist_ok=True)
    for row in range(5):
        pixels = np.random.default_rng(row).integers(0, 256, (8, 8, 3), np.uint8)
        suffix = ("png", "jpg", "bmp")[row % 3]
        Image.fromarray(pixels).save(f"photos/{row}.{suffix}")
    path = draw.choice(sorted(Path("photos").iterdir()))
    path.write_bytes(damaged(path.read_bytes(), draw))


# the last of these is a model that a mutation names and nobody can read
IN_YAML = ("net.yaml", "/proc/self/mem")
IN_FILE = ("net.tflite",)
MADE = "net-int8.tflite"
CONVERT = ("convert", "net.yaml")
FEATURES = "{tfrecord: data.tfrecord, features: {image: {dtype: float32, shape: [8, 8, 3]}}}"
PHOTOS = "{images: photos, labels: none}"
KINDS = {
    "recipes": Kind(_neighbours, _recipe, ("check", "net.yaml"), IN_YAML),
    "zoos": Kind(_neighbours, _zoo, ("batch", "--dry-run", "net.yaml"), (*IN_YAML, "good.yaml")),
    "inspect": Kind(_neighbours, _file, ("inspect", "net.tflite"), IN_FILE),
    "lint": Kind(_neighbours, _file, ("lint", "net.tflite"), IN_FILE),
    "diff": Kind(_other_file, _file, ("diff", "net.tflite", "other.tflite"), IN_FILE),
    "verify": Kind(_locked, _lock_or_file, ("verify", "net.yaml"), ("tflq.lock",), REFUSED_OR_WORSE),
    "evaluate": Kind(
        _evaluated, _evaluated_file, ("evaluate", "net.tflite", "net.yaml"), IN_FILE, REFUSED_OR_WORSE, True
    ),
    "savedmodel": Kind(_recipe_of("net"), _saved_model, CONVERT, ("net: ",), REFUSED_OR_WORSE, True),
    "keras": Kind(_recipe_of("net.keras"), _keras, CONVERT, ("net.keras",), REFUSED_OR_WORSE, True),
    "h5": Kind(_recipe_of("net.h5"), _h5, CONVERT, ("net.h5",), REFUSED_OR_WORSE, True),
    "npz": Kind(_on("{npz: data.npz}"), _npz, CONVERT, ("data.npz", MADE), REFUSED_OR_WORSE, True),
    "tfrecord": Kind(_on(FEATURES), _records, CONVERT, ("data.tfrecord", MADE), REFUSED_OR_WORSE, True),
    "pictures": Kind(_on(PHOTOS), _pictures, CONVERT, ("photos", MADE), REFUSED_OR_WORSE, True),
}


def write_case(kind: str, seed: int, case: int) -> None:
    """Write the input of that case. It depends on nothing but the arguments and the examples of the repository."""
    KINDS[kind].write(random.Random(f"{kind} {seed} {case}"))

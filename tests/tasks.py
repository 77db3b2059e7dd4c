"""Functions for worker processes, apart from the tests, so that a worker imports them in no time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

from tflq.datasets.foreign import ForeignCode
from tflq.errors import DatasetError
from tflq.worker import ProgressCallback, require_own_process


def add(report: ProgressCallback, one: int, other: int) -> int:
    return one + other


def count(report: ProgressCallback, total: int) -> int:
    for done in range(1, total + 1):
        report(done, total)
    return total


def tell(report: ProgressCallback, note: str) -> tuple[str | None, bool, int]:
    """What the environment says, and whether TensorFlow is there already."""
    report(1, 1, note)
    return os.environ.get("TF_USE_LEGACY_KERAS"), "tensorflow" in sys.modules, os.getpid()


def litter(report: ProgressCallback) -> str:
    """A temporary file that is never removed."""
    return tempfile.mkstemp()[1]


def say(report: ProgressCallback, text: str) -> None:
    print(text, "to stdout")  # noqa: T201
    print(text, "to stderr", file=sys.stderr)  # noqa: T201
    os.write(2, f"{text} from below\n".encode())
    os.system(f"echo {text} from a child of it")


def say_in_two_parts(report: ProgressCallback, said: bytes, cut: int, heard: Path) -> None:
    """Write the first part of that to the log, and the rest only when there is a file `heard`."""
    os.write(1, said[:cut])
    while not heard.exists():
        report(1, 1)
        time.sleep(0.02)
    os.write(1, said[cut:])


def fail(report: ProgressCallback, message: str) -> None:
    raise ZeroDivisionError(message)


def refuse(report: ProgressCallback) -> None:
    raise DatasetError("data.npz: holds no rows")


def exit_python(report: ProgressCallback) -> None:
    sys.exit("enough")


def return_what_cannot_travel(report: ProgressCallback) -> object:
    return threading.Lock()


def signal_itself(report: ProgressCallback, number: int) -> None:
    os.kill(os.getpid(), number)
    time.sleep(60)


def exit_at_once(report: ProgressCallback, code: int) -> None:
    os._exit(code)


def die_while_it_sends(report: ProgressCallback) -> bytes:
    """The listener keeps the parent busy until this process is dead, so the pipe is full by then."""
    report(1, 1, str(os.getpid()))
    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGKILL)).start()
    return bytes(10_000_000)


def sleep(report: ProgressCallback, pids: Path) -> None:
    """Leaves its process's number in the folder and sleeps for long."""
    (pids / str(os.getpid())).touch()
    time.sleep(3600)


def touch(report: ProgressCallback, file: Path) -> Path:
    file.touch()
    return file


def wait_for_sleeper(report: ProgressCallback, pids: Path) -> None:
    """Return when a sleeping process has left its number in the folder."""
    while not any(path.name.isdecimal() for path in pids.iterdir()):
        time.sleep(0.02)


def allocate(report: ProgressCallback, megabytes: int) -> None:
    np.ones(megabytes * 125_000)


def environment(report: ProgressCallback, key: str) -> str | None:
    return os.environ.get(key)


def refuse_for_a_cause(_: ProgressCallback) -> None:
    """Where tblib is in use, exceptions are pickled with their causes and tracebacks."""
    import tblib.pickling_support

    tblib.pickling_support.install()
    try:
        fail(_, "deep inside")
    except ZeroDivisionError as error:
        raise DatasetError("data.npz: holds no rows") from error


def hold(_: ProgressCallback, megabytes: int, folder: Path, end: Path) -> int:
    """Hold that much memory until the file `end` exists, beside a sleeping process that this one starts."""
    held = np.ones(megabytes * 10**6 // 8)
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"]) as child:
        (folder / str(child.pid)).touch()
        while not end.exists():
            time.sleep(0.05)
        child.kill()
    return held.nbytes // 10**6


_ran: list[str] = []
"""The tasks below that ran in this process."""


def process(_: ProgressCallback) -> int:
    """The number of the process."""
    _ran.append("process")
    return os.getpid()


def traces(_: ProgressCallback) -> tuple[int, list[str]]:
    """The number of the process, and what ran in it."""
    return os.getpid(), list(_ran)


def die_unless_first(_: ProgressCallback) -> int:
    if _ran:
        os.kill(os.getpid(), signal.SIGSEGV)
    return os.getpid()


def own_process(_: ProgressCallback) -> tuple[int, list[str]]:
    """The number of the process, in which nothing ran before and nothing runs after."""
    print("before it asks")  # noqa: T201
    require_own_process()
    _ran.append("own process")
    return os.getpid(), list(_ran)


def foreign_code(_: ProgressCallback) -> int:
    with ForeignCode("the user's code"):
        return os.getpid()


def leak(_: ProgressCallback, megabytes: int) -> int:
    """Keep that much memory, and return the number of the process."""
    _ran.append("x" * (megabytes * 10**6))
    return os.getpid()


def allocate_here(_: ProgressCallback, megabytes: int) -> int:
    """Free that much memory again, and return the number of the process."""
    np.ones(megabytes * 125_000)
    return os.getpid()


def records_nothing(*_: object) -> bool:
    """As if the outputs were too large to record them."""
    return False


def fails_to_run(*_: object) -> bool:
    raise ValueError("there is no kernel")


def process_id(report: ProgressCallback) -> int:
    return os.getpid()

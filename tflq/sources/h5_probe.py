"""Write the Keras version of an HDF5 file to standard output: `python h5_probe.py FILE`.

HDF5's library can crash or go round in circles in a damaged file. So this is a program of its own, with a limit of its
processor time. It reads the names and the attributes of all groups and datasets, as Keras does.
"""

from __future__ import annotations

import resource
import sys
from pathlib import Path

sys.path = [path for path in sys.path if path != str(Path(__file__).parent)]  # its modules have common names

import h5py  # noqa: E402

SECONDS = 3
"""The limit of the processor time. A model with thousands of layers takes less than a second."""


def main(path: str) -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with h5py.File(path) as file:
        file.attrs["model_config"]  # absent in a file of only weights
        version = file.attrs["keras_version"]
        file.visititems(lambda _, item: list(item.attrs.values()) and None)
    sys.stdout.write(version.decode() if isinstance(version, bytes) else str(version))


if __name__ == "__main__":
    main(sys.argv[1])

"""Read files that this run has made without copying their content into memory."""

from __future__ import annotations

from mmap import ACCESS_READ, mmap
from pathlib import Path

from tflq.flatbuffer.graph import Graph
from tflq.flatbuffer.reader import read


def mapped(path: Path) -> Graph:
    """Return the graph of a .tflite file that this run has made; see `mapped_content`."""
    return read(mapped_content(path))


def mapped_content(path: Path) -> mmap:
    """Return the content of a file that this run has made, without a copy in memory.

    Nobody may write into the file while the content is in use, since that can kill the process. So it is for files of
    users only in a worker, where LiteRT maps them, too. ValueError for an empty file.
    """
    with path.open("rb") as file:
        return mmap(file.fileno(), 0, access=ACCESS_READ)

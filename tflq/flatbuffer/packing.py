"""Build the bytes of a .tflite file."""

from __future__ import annotations

from typing import Any

import flatbuffers

ROOM, CONSTANTS_PER_ROOM = 1 << 16, 8
"""The bytes for all but constants in a new file: ROOM, and one for so many bytes of constants."""


def packed(model: Any) -> memoryview:
    """Return the file of a `ModelT`.

    The builder starts with room for all constants, since it copies what it has whenever it needs more.
    """
    constants = sum(len(buffer.data) for buffer in model.buffers if buffer.data is not None)
    room = ROOM + constants + constants // CONSTANTS_PER_ROOM
    builder = flatbuffers.Builder(min(room, flatbuffers.Builder.MAX_BUFFER_SIZE))
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return memoryview(builder.Bytes)[builder.Head() :]

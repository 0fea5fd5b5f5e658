"""TensorBoard's event files: records of protocol buffers, written by their published formats.

A record (TFRecord) is the number of its bytes, a checksum of that, the bytes, and a checksum of these. An
event (`event.proto` and `summary.proto` of TensorBoard) is a time, a step, and values by their tags. Of
protocol buffers it takes two rules: a field is its number and wire type, then its content; a text or a
message has its length in front.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping

import numpy as np

VERSION = b"brain.Event:2"  # the format that readers look for in the first event
HPARAMS_TAG = "_hparams_/session_start_info"


def event_file(start: float, events: Iterable[bytes]) -> bytes:
    """The content of an event file.

    Args:
        start: When the run began, in seconds since 1970.
        events: See `event`.
    """
    first = _double(1, start) + _bytes(3, VERSION)
    return b"".join(map(_record, (first, *events)))


def event(time: float, step: int, values: Iterable[bytes]) -> bytes:
    """The values of one step; see `scalar` and `hyperparameters`."""
    summary = b"".join(_bytes(1, value) for value in values)
    return _double(1, time) + _varint(2 << 3) + _varint(step) + _bytes(5, summary)


def scalar(tag: str, value: float) -> bytes:
    """A number by its tag, in float32, as TensorBoard has them."""
    with np.errstate(over="ignore"):
        number = np.float32(value).tobytes()
    return _bytes(1, tag.encode()) + _varint(2 << 3 | 5) + number


def hyperparameters(values: Mapping[str, str | float]) -> bytes:
    """What a run was tried with, for the tab HParams."""
    entries = b"".join(_bytes(1, _bytes(1, key.encode()) + _bytes(2, _value(values[key]))) for key in values)
    plugin = _bytes(1, b"hparams") + _bytes(2, _bytes(3, entries))
    return _bytes(1, HPARAMS_TAG.encode()) + _bytes(9, _bytes(1, plugin))


def _value(value: str | float) -> bytes:
    """A value as `google.protobuf.Value`."""
    if isinstance(value, bool):
        return _varint(4 << 3) + _varint(int(value))
    return _bytes(3, value.encode()) if isinstance(value, str) else _double(2, float(value))


def _double(field: int, value: float) -> bytes:
    return _varint(field << 3 | 1) + struct.pack("<d", value)


def _bytes(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(content)) + content


def _varint(number: int) -> bytes:
    """A whole number, seven bits a byte, the lowest first; all bytes but the last have the eighth bit set."""
    digits = bytearray()
    while number > 0x7F:
        digits.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*digits, number])


def _record(content: bytes) -> bytes:
    length = struct.pack("<Q", len(content))
    return length + _masked_checksum(length) + content + _masked_checksum(content)


def _masked_checksum(content: bytes) -> bytes:
    """The CRC-32C, rotated by 15 bits and shifted, as readers of records want it."""
    checksum = 0xFFFFFFFF
    for byte in content:
        checksum = _CRC_TABLE[(checksum ^ byte) & 0xFF] ^ (checksum >> 8)
    checksum ^= 0xFFFFFFFF
    rotated = (checksum >> 15 | checksum << 17) & 0xFFFFFFFF
    return struct.pack("<I", (rotated + 0xA282EAD8) & 0xFFFFFFFF)


def _crc_entry(byte: int) -> int:
    for _ in range(8):
        byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)  # Castagnoli's polynomial, bits reversed
    return byte


_CRC_TABLE = [_crc_entry(byte) for byte in range(256)]

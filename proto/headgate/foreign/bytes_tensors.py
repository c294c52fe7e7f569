"""BYTES tensors of the Open Inference Protocol, raw: each element behind its length, a little-endian uint32.

>>> split_elements(join_elements([b"a", b"", b"bc"]))
[b'a', b'', b'bc']
"""

import struct
import sys
from collections.abc import Iterable
from contextlib import suppress

_LENGTH = struct.Struct("<I")


def join_elements(elements: Iterable[bytes]) -> bytes:
    """Return elements, in row-major order, as they travel."""
    return b"".join([part for element in elements for part in (_LENGTH.pack(len(element)), element)])


def split_elements(raw: bytes, most: int = sys.maxsize) -> list[bytes]:
    """Return the elements of what came; of more than `most`, as many as tell that they are.

    Raises:
        ValueError: it ends within an element.
    """
    elements: list[bytes] = []
    position, end = 0, len(raw)
    # There may be millions of them.
    with suppress(struct.error):
        while position < end and len(elements) <= most:
            start = position + 4
            position = start + _LENGTH.unpack_from(raw, position)[0]
            elements.append(raw[start:position])
    if position > end or (position < end and len(elements) <= most):
        raise ValueError(f"{end} bytes end within an element")
    return elements

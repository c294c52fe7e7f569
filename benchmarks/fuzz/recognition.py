"""Whether requests that the server recognises are prepared as if it had parsed them: in this process, many a second.

`headgate.server.dialects.request_cache` compares bytes around the elements of requests: what is attacked here.
"""

from __future__ import annotations

import gc
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from headgate.benchmarks.fuzz.mutations import mutate
from headgate.server.dialects.request_cache import PreparedRequest, RequestCache
from headgate.server.errors import ServerError
from headgate.v1.encoding import encode_varint


def request_caches() -> list[RequestCache]:
    """Return those of all dialects of the servers that run in this process."""
    return [each for each in gc.get_objects() if isinstance(each, RequestCache)]


def compare(cache: RequestCache, requests: Iterable[bytes], rng: random.Random, count: int) -> list[bytes]:
    """Prepare so many mutations of requests both ways; return those that came out differently."""
    prepare = cache._prepare
    known = [each for request in requests for each in (request, *_with_decoys(prepare, request))]
    known = [request for request in known if isinstance(_outcome(prepare, request), list)]
    different = []
    for request in known:
        # The second time one of its length comes, it is remembered; the third time it is recognised.
        different += [request for _ in range(3) if _outcome(cache.prepare, request) != _outcome(prepare, request)]
    for _ in range(count if known else 0):
        mutated = _mutate(rng, rng.choice(known), known)
        expected = _outcome(prepare, mutated)
        different += [mutated for _ in range(3) if _outcome(cache.prepare, mutated) != expected][:1]
        if isinstance(expected, list) and len(known) < 1000 and rng.random() < 0.05:
            known.append(mutated)
    return different


def _with_decoys(prepare: Callable[[bytes], PreparedRequest], request: bytes) -> Iterator[bytes]:
    """Put a copy of a request's elements where it means nothing: before it, and behind it."""
    with suppress(ServerError):
        for elements in prepare(request).inputs:
            if not isinstance(elements, np.ndarray):
                decoy = bytes([0xFA, 0x01]) + encode_varint(len(elements)) + bytes(elements)
                yield request + decoy
                yield decoy + request


def _mutate(rng: random.Random, request: bytes, others: Sequence[bytes]) -> bytes:
    """Change a request, mostly without changing its length: all others are parsed anyway."""
    if rng.random() < 0.2:
        return mutate(rng, request, others)
    changed = bytearray(request)
    for _ in range(rng.choice((1, 1, 2, 4))):
        at = rng.randrange(len(changed))
        size = min(rng.choice((1, 1, 2, 4, 16)), len(changed) - at)
        match rng.randrange(4):
            case 0:
                changed[at] ^= 1 << rng.randrange(8)
            case 1:
                changed[at : at + size] = rng.randbytes(size)
            case 2:
                # What stands elsewhere in it, or in another.
                other = rng.choice((request, rng.choice(others)))
                start = rng.randrange(max(1, len(other) - size))
                changed[at : at + len(other[start : start + size])] = other[start : start + size]
            case _:
                # What stands there, further on.
                changed.insert(rng.randrange(len(changed) + 1), changed.pop(at))
    return bytes(changed[: len(request)])


def _outcome(prepare: Callable[[bytes], PreparedRequest], request: bytes) -> Any:
    """Return what is prepared as a list that can be compared, or the error."""
    try:
        prepared = prepare(request)
    except ServerError as error:
        return type(error), str(error)
    specs = prepared.model.inputs.inputs
    elements = [_comparable(each, spec.dtype) for each, spec in zip(prepared.inputs, specs, strict=True)]
    return [prepared._replace(inputs=[]), elements]


def _comparable(elements: Any, dtype: np.dtype[Any]) -> Any:
    if isinstance(elements, np.ndarray):
        return elements.tolist()
    array = np.frombuffer(elements, dtype)
    # Where floats are read one by one, a NaN may become another.
    return (np.where(np.isnan(array), np.nan, array) if dtype.kind == "f" else array).tobytes()

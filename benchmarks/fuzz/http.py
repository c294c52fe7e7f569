"""Bad input over HTTP: paths and bodies that are almost right, bytes that are not, and bodies that lie."""

from __future__ import annotations

import copy
import gzip
import http.client
import json
import random
import re
import socket
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import grpc

from headgate.benchmarks.fuzz.bombs import bomb
from headgate.benchmarks.fuzz.mutations import mutate_bytes
from headgate.benchmarks.fuzz.verdict import fault_of_text, has_reason

_TIMEOUT_S = 40.0
_CONCURRENCY = 8
_JSON_LENGTH, _TIMEOUT = "Inference-Header-Content-Length", "Grpc-Timeout"
_MIB = 2**20
#: From here on, what a body takes is a matter of its size.
_LARGE_BYTES = 2**19
#: What a request can be to blame for.
_RIGHT = {200, 307, 400, 404, 405, 408, 409, 411, 412, 413, 415, 422, 431, 501}
#: Statuses that are right only with some messages: those of a code of gRPC's.
_WITH_REASON = {
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    500: grpc.StatusCode.INTERNAL,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}
_VALUES: Sequence[Any] = (
    None, True, 0, -1, 1, 2**31, 2**53 + 1, 2**63 - 1, 2**63, 2**64, -(2**63) - 1, 10**400, 0.5, 1e308, -0.0, "", "x",
    "FP32", "BYTES", "../..", "nul\0", "line\nbreak", "\ud800", "é", "A" * 5000, [], {}, [[]], [[[[[[[[1]]]]]]]],
    [1, "a", None], {"a": {"b": {}}}, [1] * 1000, [0] * 40,
)  # fmt: skip


@dataclass(slots=True)
class HttpRecord:
    """What an attack has seen: how many inputs, the statuses of requests, and one fault of each kind."""

    inputs: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    findings: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Request:
    """A request, right or not."""

    method: str
    path: str
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()


class HttpAttack:
    """Sends bad input to what /openapi.json lists."""

    def __init__(self, port: int, models: Sequence[str], bodies: Sequence[Any], seed: int) -> None:
        """Take the names of models, and valid bodies for them."""
        self.record = HttpRecord()
        self._port = port
        self._models = models
        self._bodies = bodies
        self._rng = random.Random(seed)
        described = json.loads(_send(port, Request("GET", "/openapi.json"))[1])
        self._endpoints = [(method.upper(), path) for path, methods in described["paths"].items() for method in methods]
        self._good = self._find_good()

    def send(self, count: int) -> int:
        """Send so many requests, and special ones; return how many in all."""
        before = self.record.inputs
        requests = [*self._special(), *(self._draw() for _ in range(count))]
        for request, (status, text) in zip(requests, self._send_all(requests), strict=True):
            self._note(request, status, text)
        for beginning in self._beginnings(count // 10):
            self.record.inputs += 1
            if not _is_ended(self._port, beginning):
                self.record.findings.setdefault("connection", f"a connection of {beginning[:80]!r} was not ended")
        return self.record.inputs - before

    def send_good(self, count: int) -> None:
        """Send as many good requests, as large as those that `send` sends."""
        special = [_GOOD_LARGE if len(each.body) >= _LARGE_BYTES else _GOOD for each in self._special()]
        requests = [*special, *(self._rng.choice(self._good) for _ in range(count + count // 10))]
        for request, (status, text) in zip(requests, self._send_all(requests), strict=True):
            if status != 200:
                fault = f"{request.method} {request.path}: a good request got {status}"
                self.record.findings.setdefault(fault, f"{fault}: {text[:200]!r}")

    def _send_all(self, requests: Sequence[Request]) -> list[tuple[int, bytes]]:
        with ThreadPoolExecutor(_CONCURRENCY) as pool:
            return list(pool.map(lambda request: _send(self._port, request), requests))

    def _find_good(self) -> list[Request]:
        """Return requests to all that is listed, but for what changes the server, which get the status 200."""
        model = self._models[0]
        requests = []
        for method, path in self._endpoints:
            if method in ("GET", "POST") and "repository" not in path and "sharedmemory" not in path:
                path = re.sub(r"\{(\w+)\}", lambda found: model if found[1] == "model" else "1", path)
                bodies = [b""] if method == "GET" else [json.dumps(body).encode() for body in self._bodies]
                requests += [Request(method, path, body) for body in bodies]
        return [each for each, (status, _) in zip(requests, self._send_all(requests), strict=True) if status == 200]

    def _note(self, request: Request, status: int, text: bytes) -> None:
        record = self.record
        record.inputs += 1
        record.statuses[str(status)] += 1
        fault = judge(request, status, text)
        if fault is not None:
            kind = f"{request.method} {re.sub('[0-9]+', '_', fault)[:80]}"
            record.findings.setdefault(kind, f"{request.method} {request.path} {request.body[:200]!r}: {fault}")

    def _draw(self) -> Request:
        rng = self._rng
        method, path = rng.choice(self._endpoints)
        path = re.sub(r"\{(\w+)\}", lambda found: self._part(found[1]), path)
        if rng.random() < 0.05:
            method = rng.choice(("GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "BREW"))
        if rng.random() < 0.05:
            path += rng.choice(("/", "//", "?a=b", "%00", "%2e%2e/", "/../..", "%ff", "a" * 5000))
        if method in ("GET", "HEAD"):
            return Request(method, path)
        body = json.loads(json.dumps(rng.choice(self._bodies)))
        for _ in range(rng.choice((0, 1, 1, 2, 3))):
            _change(rng, body)
        data = json.dumps(body).encode()
        if rng.random() < 0.3:
            data = mutate_bytes(rng, data, [data])
        headers: list[tuple[str, str]] = []
        if rng.random() < 0.2:
            length = rng.choice((0, 1, len(data) - 1, len(data), len(data) + 1, 2**63, -1))
            headers.append((_JSON_LENGTH, rng.choice((str(length), "x", "", "1e3"))))
            data += rng.randbytes(rng.randrange(64))
        if rng.random() < 0.1:
            encoding = rng.choice(("gzip", "deflate", "br", "gzip, gzip", ""))
            headers.append(("Content-Encoding", encoding))
            data = rng.choice((data, gzip.compress(data), gzip.compress(data)[:-5], zlib.compress(data)))
        if rng.random() < 0.05:
            headers.append((_TIMEOUT, rng.choice(("0n", "1n", "x", "99999999H", "-1S"))))
        return Request(method, path, data, tuple(headers))

    def _part(self, name: str) -> str:
        rng = self._rng
        if rng.random() < 0.8:
            return rng.choice(self._models) if name == "model" else "1"
        return rng.choice(("", "0", "-1", "x", "%00", "%0a", "..", "%2e%2e%2f", "9" * 30, "%F0%9F%98%80", "%ff"))

    def _special(self) -> Iterator[Request]:
        path = f"/v2/models/{self._models[0]}/infer"
        for encoding in ("gzip", "deflate"):
            yield Request("POST", path, bomb(encoding), (("Content-Encoding", encoding),))
        for opening, closing in (("[", "]"), ('{"a":', "}")):
            yield Request("POST", path, (opening * 100_000 + "1" + closing * 100_000).encode())
        for data in ("9" * _MIB, "1e" + "9" * 1000, '"' + "\\u0000" * _MIB + '"', "[" + "0," * _MIB + "0]"):
            yield Request("POST", path, _tensor("1", data))
        yield Request("POST", path, _tensor(",".join(["9223372036854775807"] * 100_000), "1"))
        keys = ",".join(f'"{index}": 1' for index in range(200_000))
        yield Request("POST", path, f'{{"inputs": [], "parameters": {{{keys}}}}}'.encode())
        yield Request("POST", f"/v2/models/{self._models[0]}/predict", f'{{"inputs": {{{keys}}}}}'.encode())

    def _beginnings(self, count: int) -> Iterator[bytes]:
        whole = (
            b"POST /v2/models/%b/infer HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}" % self._models[0].encode()
        )
        chunked = b"POST /v2 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        yield from (
            b"", b"\0", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"\x16\x03\x01" + bytes(100), b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 10_000,
            b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\n\r\n",
            b"GET / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            b"POST /v2 HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
            b"POST /v2 HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n",
            chunked + b"ffffffffffffffffff\r\n", chunked + b"zz\r\n\r\n", chunked + b"5\r\nab", whole[:-1], whole[:30],
        )  # fmt: skip
        for _ in range(count):
            yield mutate_bytes(self._rng, whole, [whole, chunked])


def _tensor(shape: str, data: str) -> bytes:
    return f'{{"inputs": [{{"name": "x", "datatype": "FP32", "shape": [{shape}], "data": [{data}]}}]}}'.encode()


def _good(rows: int) -> Request:
    return Request("POST", "/v2/models/classes/infer", _tensor(f"{rows},4", ",".join(["0.5"] * 4 * rows)))


_GOOD, _GOOD_LARGE = _good(1), _good(_MIB // 16)


def _change(rng: random.Random, value: Any) -> None:
    """Change a value of JSON in one place."""
    places: list[tuple[Any, Any]] = []
    stack = [value]
    while stack and len(places) < 500:
        node = stack.pop()
        keys = list(node) if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ()
        for key in keys:
            places.append((node, key))
            stack.append(node[key])
    if not places:
        return
    node, key = rng.choice(places)
    match rng.randrange(4):
        case 0:
            del node[key]
        case 1 if isinstance(node, list):
            node.extend([node[key]] * rng.choice((1, 2, 1000)))
        case 2 if isinstance(node, dict):
            node[rng.choice(("x", "name", "", "\0", "parameters", "binary_data_size"))] = node.pop(key)
        case _:
            node[key] = copy.deepcopy(rng.choice(_VALUES))


def judge(request: Request, status: int, text: bytes) -> str | None:
    """Say what is wrong with the answer to a request; None if nothing is."""
    if status not in _RIGHT and status not in _WITH_REASON:
        return f"status {status}: {text[:200]!r}"
    # Who is sent more than is taken may not read what is said of it.
    if status < 400 or (not text and (request.method == "HEAD" or status == 413)):
        return None
    try:
        message = json.loads(text)["error"]
    except (ValueError, KeyError, TypeError):
        # What is no HTTP is answered by the server's library, and readiness by the status.
        known = (b"Invalid HTTP request received.", b'{"ready":false}')
        return None if text in known else f"status {status} without an error: {text[:200]!r}"
    fault = fault_of_text(message)
    if fault is not None:
        return f"{fault}: {message[:200]!r}"
    is_asked_for = status == 504 and _TIMEOUT in dict(request.headers)
    if status in _RIGHT or is_asked_for or has_reason(_WITH_REASON[status], message):
        return None
    return f"status {status}: {message[:200]!r}"


def _send(port: int, request: Request) -> tuple[int, bytes]:
    """Return the status and the body of an answer; status 0 if there was none."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_TIMEOUT_S)
    try:
        connection.putrequest(request.method, request.path, skip_accept_encoding=True)
        for name, value in (("Content-Length", str(len(request.body))), *request.headers):
            connection.putheader(name, value)
        connection.endheaders(request.body)
        answer = connection.getresponse()
        return answer.status, answer.read()
    except (OSError, http.client.HTTPException, ValueError) as error:
        # A server may end a connection before it has read all of what it refuses.
        refused = isinstance(error, BrokenPipeError | ConnectionResetError)
        return (413, b"") if refused and len(request.body) > _MIB else (0, str(error).encode())
    finally:
        connection.close()


def _is_ended(port: int, beginning: bytes) -> bool:
    """Begin a connection so, and end it; return whether the server does too."""
    with socket.create_connection(("127.0.0.1", port), _TIMEOUT_S) as connection:
        try:
            connection.sendall(beginning)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(2**16):
                pass
        except TimeoutError:
            return False
        except OSError:
            pass
    return True

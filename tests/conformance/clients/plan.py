"""What the clients are to ask, and what they are to be told: written by the run, read in each client's environment."""

import base64
import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

DTYPES = {
    "BOOL": np.bool_,
    "UINT8": np.uint8,
    "UINT16": np.uint16,
    "UINT32": np.uint32,
    "UINT64": np.uint64,
    "INT8": np.int8,
    "INT16": np.int16,
    "INT32": np.int32,
    "INT64": np.int64,
    "FP16": np.float16,
    "FP32": np.float32,
    "FP64": np.float64,
}


@dataclass
class Tensor:
    """An array and the protocol's name of its type. BYTES: an object array of bytes; BF16: a float32 array."""

    datatype: str
    array: np.ndarray

    @property
    def shape(self):
        return list(self.array.shape)

    @property
    def is_json(self):
        if self.datatype == "BYTES":
            return all(element.decode(errors="replace").encode() == element for element in self.array.ravel())
        return self.datatype not in ("FP16", "BF16") and bool(np.isfinite(self.array).all())

    def raw(self):
        """Return the elements as the protocol's raw bytes."""
        if self.datatype == "BYTES":
            return b"".join(len(element).to_bytes(4, "little") + element for element in self.array.ravel())
        if self.datatype == "BF16":
            return (np.ascontiguousarray(self.array).view(np.uint32) >> 16).astype(np.uint16).tobytes()
        return np.ascontiguousarray(self.array).tobytes()

    def assert_equal(self, other):
        """Expect another array, as a client returned it, to hold the same."""
        assert other is not None, "there is no such output"
        assert list(other.shape) == self.shape, f"shape {list(other.shape)}, expected {self.shape}"
        if self.datatype == "BYTES":
            elements = [element.encode() if isinstance(element, str) else bytes(element) for element in other.ravel()]
            assert elements == self.array.ravel().tolist(), f"{elements}, expected {self.array.ravel().tolist()}"
        elif self.datatype == "BF16":
            np.testing.assert_array_equal(np.asarray(other, np.float32), self.array)
        else:
            assert other.dtype == self.array.dtype, f"dtype {other.dtype}, expected {self.array.dtype}"
            if self.array.dtype.kind == "f":
                np.testing.assert_allclose(other, self.array, rtol=1e-5, atol=1e-6)
            else:
                np.testing.assert_array_equal(other, self.array)


@dataclass
class Case:
    """A request and its answer.

    `scores` holds the label scores of outputs that have a head: by output, a list of [label, score] for each row.
    """

    model: str
    inputs: dict
    outputs: dict
    version: str = ""
    scores: dict = field(default_factory=dict)

    @property
    def rows(self):
        return len(next(iter(self.inputs.values())).array)

    @property
    def is_json(self):
        """Whether the protocol has JSON for the inputs: not for NaN, infinities, and types of 16 bits."""
        return all(tensor.is_json for tensor in self.inputs.values())


@dataclass
class Plan:
    """What to ask, and whom.

    Attributes:
        grpc, http: the server's addresses.
        cases: by name.
        authority: the file of the root certificate, where the server is asked over TLS; "" where it is not.
        only_main: whether a client makes its main calls only.
    """

    grpc: str
    http: str
    cases: dict
    authority: str = ""
    only_main: bool = False


def write_plan(path, plan):
    """Write a plan as JSON."""
    path.write_text(json.dumps(plan, default=_to_json))


def read_plan(path):
    """Read a plan that was written by `write_plan`."""
    content = json.loads(Path(path).read_text())
    cases = {
        name: Case(case["model"], _tensors(case["inputs"]), _tensors(case["outputs"]), case["version"], case["scores"])
        for name, case in content["cases"].items()
    }
    return Plan(**content | {"cases": cases})


def _to_json(value):
    if isinstance(value, Tensor):
        if value.datatype == "BYTES":
            data = [base64.b64encode(element).decode() for element in value.array.ravel()]
        else:
            data = base64.b64encode(value.raw()).decode()
        return {"datatype": value.datatype, "shape": value.shape, "data": data}
    return vars(value)


def _tensors(content):
    return {name: _tensor(**tensor) for name, tensor in content.items()}


def _tensor(datatype, shape, data):
    if datatype == "BYTES":
        array = np.empty(len(data), object)
        array[:] = [base64.b64decode(element) for element in data]
    elif datatype == "BF16":
        array = (np.frombuffer(base64.b64decode(data), np.uint16).astype(np.uint32) << 16).view(np.float32)
    else:
        array = np.frombuffer(base64.b64decode(data), DTYPES[datatype])
    return Tensor(datatype, array.reshape(shape))

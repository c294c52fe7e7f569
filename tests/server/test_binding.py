"""Batches in bound memory: that of the CPU, and memory that is filled and emptied by copying, as a device's is."""

import ctypes

import numpy as np
import onnxruntime
import pytest

from headgate.server.binding import Binding, HostMemory, row_bytes
from headgate.v1 import DataType, TensorSpec

SUM = "g (float[batch,2] a, float[batch,1] b) => (float[batch,1] sum, float[batch,2] twice) <int64[1] last = {1}>" \
      "{ c = ReduceSum<keepdims=1>(a, last) sum = Add(c, b) twice = Add(a, a) }"  # fmt: skip


class DistantMemory:
    """Copies to and from values of its own, which nothing but these copies reaches."""

    is_host = False

    def empty(self, shape, dtype):
        return np.full(shape, 77, dtype)

    def value(self, array):
        return onnxruntime.OrtValue.ortvalue_from_shape_and_type(array.shape, array.dtype, "cpu", 0)

    def upload(self, arrays, values):
        for array, value in zip(arrays, values, strict=True):
            ctypes.memmove(value.data_ptr(), array.ctypes.data, array.nbytes)

    def download(self, values, arrays):
        for value, array in zip(values, arrays, strict=True):
            ctypes.memmove(array.ctypes.data, value.data_ptr(), array.nbytes)


@pytest.fixture(params=[HostMemory, DistantMemory])
def memory(request):
    return request.param()


@pytest.fixture
def bind(memory, tmp_path, write_model):
    """Bind batches of a size to memory that is larger."""
    session = onnxruntime.InferenceSession(str(write_model(tmp_path, "sum", SUM)), providers=["CPUExecutionProvider"])
    arrays = {name: memory.empty((8, units), np.dtype(np.float32))
              for name, units in (("a", 2), ("b", 1), ("sum", 1), ("twice", 2))}  # fmt: skip

    def bind(rows, graph_id=None):
        views = {name: array[:rows] for name, array in arrays.items()}
        return Binding(
            session, memory, {name: views[name] for name in ("a", "b")},
            {name: views[name] for name in ("sum", "twice")}, graph_id,
        )  # fmt: skip

    return bind


def rows_of(rows, start):
    a = np.arange(start, start + 2 * rows, dtype=np.float32).reshape(rows, 2)
    return a, np.full((rows, 1), start, np.float32)


@pytest.mark.parametrize("graph_id", [None, 4])
def test_runs(bind, graph_id):
    binding = bind(4, graph_id)
    for start in (0, 100):
        a, b = rows_of(4, start)
        total, twice = binding.run([a, b], 4)
        assert np.array_equal(total, a.sum(1, keepdims=True) + b)
        assert np.array_equal(twice, 2 * a)


def test_outputs_are_the_callers_to_keep(bind):
    binding = bind(4)
    first = binding.run(rows_of(4, 0), 4)
    kept = [output.copy() for output in first]
    binding.run(rows_of(4, 100), 4)
    binding.run(rows_of(2, 200), 2)
    assert all(map(np.array_equal, first, kept))


def test_bindings_of_several_sizes_share_memory(bind):
    small, large = bind(1), bind(8)
    for rows, binding in ((8, large), (1, small), (8, large)):
        a, b = rows_of(rows, rows)
        total, _ = binding.run([a, b], rows)
        assert np.array_equal(total, a.sum(1, keepdims=True) + b)


@pytest.mark.parametrize("rows", [1, 3, 4])
def test_batches_that_are_not_full(bind, rows):
    binding = bind(4)
    binding.run(rows_of(4, 50), 4)
    a, b = rows_of(rows, 0)
    total, twice = binding.run([a, b], rows)
    assert np.array_equal(total, a.sum(1, keepdims=True) + b)
    assert twice.shape == (rows, 2)


def test_what_fills_a_batch_up_is_its_last_row(memory, tmp_path, write_model):
    graph = "g (float[batch,1] x) => (float[batch,1] y) <int64[1] first = {0}> " \
            "{ total = ReduceSum<keepdims=1>(x, first) zeros = Sub(x, x) y = Add(zeros, total) }"  # fmt: skip
    session = onnxruntime.InferenceSession(
        write_model(tmp_path, "total", graph).read_bytes(), providers=["CPUExecutionProvider"]
    )
    arrays = {name: memory.empty((4, 1), np.dtype(np.float32)) for name in "xy"}
    binding = Binding(session, memory, {"x": arrays["x"]}, {"y": arrays["y"]})
    (output,) = binding.run([np.array([[1], [10]], np.float32)], 2)
    assert output.tolist() == [[31], [31]]


def spec(datatype, *shape):
    return TensorSpec(name="x", datatype=datatype, shape=shape)


def test_row_bytes():
    fp32, fp16, text = DataType.DATA_TYPE_FP32, DataType.DATA_TYPE_FP16, DataType.DATA_TYPE_STRING
    assert row_bytes([spec(fp32, -1, 3), spec(fp16, -1)]) == 14
    assert row_bytes([spec(fp32, -1, 3), spec(fp16, -1, -1)]) is None
    assert row_bytes([spec(text, -1, 3)]) is None
    assert row_bytes([spec(fp32)]) is None

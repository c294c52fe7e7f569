"""Elements are read where they lie in a message, at any address."""

import numpy as np
import onnxruntime
import pytest

OPERATORS = ["Neg(x)", "Add(x, x)", "Mul(x, x)", "Abs(x)", "ReduceSum(x)", "Transpose(x)", "Max(x, x)", "Relu(x)"]
TYPES = {"float": "f4", "double": "f8", "int64": "i8", "int32": "i4"}


@pytest.fixture(scope="session")
def run(tmp_path_factory, write_model):
    def run(operator, kind, x):
        folder = tmp_path_factory.mktemp("models")
        path = write_model(folder, "m", f"g ({kind}[batch,n] x) => ({kind}[p,q] y) {{ y = {operator} }}")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        return onnxruntime.InferenceSession(path, options).run(None, {"x": x})[0]

    return run


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("operator", OPERATORS)
def test_onnxruntime_reads_elements_at_any_address(run, operator, kind):
    elements = np.random.default_rng(0).integers(1, 9, (64, 257)).astype(TYPES[kind])
    expected = run(operator, kind, elements)
    for offset in (1, 3):
        message = bytes(offset) + elements.tobytes()
        moved = np.frombuffer(memoryview(message)[offset:], TYPES[kind]).reshape(elements.shape)
        assert not moved.flags.aligned
        np.testing.assert_array_equal(run(operator, kind, moved), expected)

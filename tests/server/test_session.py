"""onnxruntime sessions: files, devices, types."""

import numpy as np
import onnxruntime
import pytest

from headgate.server import StartupError
from headgate.server.session import Session, example_inputs, resolve_provider
from headgate.v1 import DataType

CPU = "CPUExecutionProvider"
needs_no_cuda = pytest.mark.skipif(
    "CUDAExecutionProvider" in onnxruntime.get_available_providers(), reason="this onnxruntime has CUDA"
)


def test_provider_names():
    assert resolve_provider("cpu") == resolve_provider("CPU") == resolve_provider(CPU) == CPU


@needs_no_cuda
def test_provider_that_is_not_there(caplog):
    with pytest.raises(StartupError) as caught:
        resolve_provider("cuda")
    assert str(caught.value) == (
        "provider 'cuda' is not available in this onnxruntime (it has cpu): pip uninstall onnxruntime; "
        "pip install 'headgate[gpu]', where there is an NVIDIA driver"
    )
    assert resolve_provider("cuda", allow_cpu_fallback=True) == CPU
    assert "provider 'cuda' is not available" in caplog.text
    assert "running on the CPU instead" in caplog.text


def test_unknown_provider():
    with pytest.raises(StartupError, match=r"provider 'tpu' is not available in this onnxruntime \(it has cpu"):
        resolve_provider("tpu")


@needs_no_cuda
@pytest.mark.filterwarnings("ignore:Specified provider:UserWarning")
def test_session_asserts_its_device(tmp_path, write_model):
    path = write_model(tmp_path, "iris")
    with pytest.raises(StartupError, match="was to run on CUDAExecutionProvider, but onnxruntime fell back to CPU"):
        Session(path, "CUDAExecutionProvider", 1)
    assert Session(path, "CUDAExecutionProvider", 1, allow_cpu_fallback=True).provider == CPU


def test_run(tmp_path, write_model):
    session = Session(write_model(tmp_path, "twins"), CPU, 1)
    assert session.provider == CPU
    assert [(spec.name, list(spec.shape)) for spec in session.inputs] == [("x", [-1, 2])]
    assert [(spec.name, list(spec.shape)) for spec in session.outputs] == [("same", [-1, 2]), ("total", [-1, 1])]
    same, total = session.run([np.array([[1, 2], [3, 4]], np.float32)])
    assert same.tolist() == [[1, 2], [3, 4]]
    assert total.tolist() == [[3], [7]]
    assert "headgate.signature" in session.metadata


@pytest.mark.parametrize("content", [b"", b"this is no model", None], ids=["empty", "text", "missing"])
def test_file_that_is_no_model(tmp_path, content):
    path = tmp_path / "model.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(StartupError, match=f"{path} cannot be loaded by onnxruntime: ") as caught:
        Session(path, CPU, 1)
    assert "\n" not in str(caught.value)


def test_truncated_file(tmp_path, write_model):
    path = write_model(tmp_path, "iris")
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(StartupError, match="cannot be loaded"):
        Session(path, CPU, 1)


def test_type_that_cannot_be_served(tmp_path, write_model):
    path = write_model(tmp_path, "odd", "g (bfloat16[batch,1] x) => (bfloat16[batch,1] y) { y = Identity(x) }")
    with pytest.raises(StartupError, match=r"'x' is a tensor\(bfloat16\), which headgate cannot serve"):
        Session(path, CPU, 1)


def test_example_inputs(tmp_path, write_model):
    def examples(name):
        return example_inputs(Session(write_model(tmp_path, name), CPU, 1).inputs, 3)

    a, b = examples("sums")
    assert (a.shape, a.dtype, b.shape, b.dtype) == ((3, 2), np.float32, (3, 1), np.int32)
    (text,) = examples("text")
    assert text.tolist() == [[""]] * 3
    (lengths,) = examples("lengths")
    assert lengths.shape == (3, 1)


@pytest.mark.parametrize(("onnx_name", "data_type"), [("float16", "FP16"), ("bool", "BOOL"), ("uint64", "UINT64")])
def test_types(tmp_path, write_model, onnx_name, data_type):
    session = Session(write_model(tmp_path, f"same_{onnx_name}"), CPU, 1)
    assert session.inputs[0].datatype == DataType.Value(f"DATA_TYPE_{data_type}")
    (example,) = example_inputs(session.inputs, 2)
    assert session.run([example])[0].dtype == example.dtype

import subprocess
import sys


def test_needs_no_model_runtime():
    code = "import headgate.client, sys; print(*{name.partition('.')[0] for name in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "grpc" in loaded
    assert not {"tensorflow", "keras", "onnx", "onnxruntime", "tf2onnx"} & set(loaded)


def test_needs_no_other_part_of_headgate():
    code = "import headgate.client, sys; print(*{name for name in sys.modules if name.startswith('headgate.')})"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert {name.split(".")[1] for name in loaded} == {"client", "foreign", "v1"}

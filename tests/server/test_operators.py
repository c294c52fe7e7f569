"""Which operators of a model may be given tensors without elements, and that they survive it."""

import subprocess
import sys
from pathlib import Path

import onnx
import onnx.parser
import onnxruntime
import pytest

from headgate.server.operators import needs_elements, tried

CPU = "CPUExecutionProvider"


@pytest.fixture
def reason(tmp_path):
    """Why a model, given as text or as it is, must have elements."""

    def write_and_ask(model):
        if isinstance(model, str):
            model = onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["" : 18, "own" : 1]> {model}')
        path = tmp_path / "model.onnx"
        onnx.save(model, path)
        return needs_elements(path, CPU)

    return write_and_ask


class TestModels:
    def test_tried(self, reason):
        assert reason("g (float[b,n] x) => (float[b,n] y) { z = Add(x, x) y = Softmax(z) }") == ""

    def test_untried(self, reason):
        assert reason('g (float[b,n] x) => (float[b,n] y) { z = Einsum<equation = "ij->ij">(x) y = Relu(z) }') == (
            "its operator Einsum could end onnxruntime's process"
        )

    def test_of_another_domain(self, reason):
        assert "own.Add could" in reason("g (float[b,n] x) => (float[b,n] y) { y = own.Add(x, x) }")

    def test_in_a_subgraph(self, reason):
        branches = (
            "<then_branch = t () => (float[b,n] a) { a = Det(x) }, "
            "else_branch = e () => (float[b,n] a) { a = Relu(x) }>"
        )
        assert "Det could" in reason(f"g (float[b,n] x, bool c) => (float[b,n] y) {{ y = If{branches}(c) }}")
        assert (
            reason(f"g (float[b,n] x, bool c) => (float[b,n] y) {{ y = If{branches.replace('Det', 'Exp')}(c) }}") == ""
        )

    @pytest.mark.parametrize(
        ("inner", "expected"), [("Relu", ""), ("Det", "its operator Det could end onnxruntime's process")]
    )
    def test_functions_are_what_they_are_made_of(self, reason, inner, expected):
        function = f'<domain: "own", opset_import: ["" : 18]> twice (x) => (y) {{ z = {inner}(x) y = Relu(z) }}'
        assert reason(f"g (float[b,n] x) => (float[b,n] y) {{ y = own.twice(x) }} {function}") == expected

    def test_version(self, reason, monkeypatch):
        graph = "g (int64[b,n] x) => (int64[b,n] y) { y = Div(x, x) }"
        for version, expected in (("1.24.4", "its operator Div could end onnxruntime's process"), ("1.25.0", "")):
            monkeypatch.setattr(onnxruntime, "__version__", version)
            assert reason(graph) == expected

    def test_other_devices(self, tmp_path):
        assert needs_elements(tmp_path, "CUDAExecutionProvider") == "that was tried on the CPU alone"

    @pytest.mark.parametrize("content", [b"", b"this is no model", None])
    def test_files_that_are_no_models(self, tmp_path, content):
        path = tmp_path / "model.onnx"
        if content is not None:
            path.write_bytes(content)
        assert needs_elements(path, CPU) == "its operators cannot be read from its file"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_tried_operators_survive():
    """ONNX's own tests of them, with every size set to 0."""
    program = Path(__file__).with_name("empty_tensors.py")
    run = subprocess.run([sys.executable, program], stdout=subprocess.PIPE, text=True, timeout=590)
    *lines, last = run.stdout.splitlines()
    assert (run.returncode, last) == (0, "done")
    tried_here = {name for line in lines for name in line.partition(" ")[0].split("+")}
    # Of these two older releases of onnx have tests without sizes alone.
    assert tried() - tried_here <= {"If", "Range"}
    assert tried_here <= tried()
    assert sum(line.endswith(" ran") for line in lines) > len(lines) / 4

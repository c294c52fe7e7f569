"""Each in a process of its own, as a user meets it."""

import os
import subprocess
import sys
import warnings

import pytest

from headgate.exporter.libraries import quiet, silent_tensorflow


def run(code, *arguments, **environment):
    unset = ("TF_CPP_MIN_LOG_LEVEL", "KERAS_BACKEND", "PYTHONWARNINGS")
    env = {name: value for name, value in os.environ.items() if name not in unset} | environment
    return subprocess.run([sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, env=env)


@pytest.mark.slow
def test_a_good_export_says_nothing(tmp_path, dense):
    path = tmp_path / "iris.h5"
    dense(3, "softmax", "sparse_categorical_crossentropy").save(path)
    code = """
import sys
from headgate.exporter import export_model
print(export_model(sys.argv[1], sys.argv[2]).path)
"""
    done = run(code, path, tmp_path / "models", PYTHONWARNINGS="always::UserWarning")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.strip() == str(tmp_path / "models" / "iris" / "1" / "model.onnx")


@pytest.mark.slow
def test_importing_the_package_imports_no_tensorflow():
    done = run(
        "import sys, headgate.exporter; "
        "print([name for name in ('tensorflow', 'keras', 'onnx', 'onnxruntime', 'tf2onnx') if name in sys.modules])"
    )
    assert done.stdout == "[]\n", done.stderr


@pytest.mark.slow
def test_a_missing_library_is_named():
    # None in sys.modules is Python's own way to make an import fail.
    code = """
import sys
sys.modules["tensorflow"] = None
from headgate.exporter import ExportError, export_model
try:
    export_model("m.keras", "models")
except ExportError as error:
    assert isinstance(error, ImportError)
    print(error)
"""
    done = run(code)
    assert "(import of tensorflow halted" in done.stdout
    assert "run pip install 'headgate[export,tensorflow]'" in done.stdout


@pytest.mark.slow
def test_another_backend_is_refused():
    code = """
from headgate.exporter import export_model
try:
    export_model("m.keras", "models")
except ImportError as error:
    print(error)
"""
    done = run(code, KERAS_BACKEND="jax")
    assert done.stdout.startswith("Keras runs on 'jax', headgate exports through TensorFlow; set KERAS_BACKEND=")


def test_only_tensorflows_log_lines_are_held_back(capfd):
    with silent_tensorflow():
        os.write(2, b"I0000 00:00:1795289190.404123 10673 port.cc:153] oneDNN\nmine\n")
    assert capfd.readouterr().err == "mine\n"


def test_log_lines_come_through_where_they_are_asked_for(capfd, monkeypatch):
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "0")
    with silent_tensorflow():
        os.write(2, b"I0000 00:00:1795289190.404123 10673 port.cc:153] oneDNN\n")
    assert "oneDNN" in capfd.readouterr().err


def test_errors_in_logs_are_kept_for_the_message():
    import logging

    logger = logging.getLogger("tf2onnx.tfonnx")
    before = logging.getLogger("tf2onnx").handlers
    with quiet() as lines:
        logger.warning("not worth mentioning")
        try:
            raise ValueError("no such attribute")
        except ValueError:
            logger.error("cannot convert\nat length", exc_info=True)
    assert lines == ["cannot convert: no such attribute"]
    assert logging.getLogger("tf2onnx").handlers is before


def test_what_tf2onnx_logs_with_the_root_logger(caplog):
    import logging

    handlers = list(logging.getLogger().handlers)
    told = compile("import logging; logging.warning('said at %s', __name__)", "/lib/tf2onnx/rewriter/gemm.py", "exec")
    with quiet():
        exec(told, {"__name__": "tf2onnx"})
        logging.getLogger().warning("of others")
    assert logging.getLogger().handlers == handlers
    assert caplog.messages == ["of others"]
    with caplog.at_level(logging.DEBUG, "headgate.exporter"), quiet():
        exec(told, {"__name__": "tf2onnx"})
    assert caplog.messages == ["of others", "said at tf2onnx"]


def test_who_wants_to_know_is_told(caplog):
    import logging

    logger = logging.getLogger("tf2onnx.tfonnx")
    with quiet():
        logger.error("hidden")
        warnings.warn("hidden", stacklevel=1)
    with caplog.at_level(logging.DEBUG, "headgate.exporter"), quiet() as lines:
        logger.error("shown")
        with pytest.warns(UserWarning, match="shown"):
            warnings.warn("shown", stacklevel=1)
    assert caplog.messages == ["shown"]
    assert lines == ["shown"]

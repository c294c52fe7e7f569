"""One case tried: exported as a user would, run in onnxruntime, compared with Keras."""

from __future__ import annotations

import importlib.util
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headgate.benchmarks.coverage.cases import Case, Subject, spread_weights
from headgate.benchmarks.coverage.outcome import Outcome
from headgate.exporter import ExportError, export_model
from headgate.exporter.conversion.graph_names import nodes_of
from headgate.exporter.libraries import quiet, silent_tensorflow
from headgate.exporter.names import clean_name
from headgate.v1 import Signature
from headgate.v1.signatures import METADATA_KEY, signature_from_json
from headgate.v1.tensors import NUMPY_DTYPES

#: Other than those that the exporter compares on.
_BATCH_SIZES = (2, 5)

#: |onnx - keras| <= absolute + relative * |keras|, by whether the model computes in 16 bits. Where that is not enough,
#: the tolerance that the exporter found is: deep networks of random weights may answer to the last bit of their inputs.
_TOLERANCES = {False: (1e-4, 1e-3), True: (1e-2, 2e-2)}

#: What is left of TensorFlow's and tf2onnx's names in files of other converters.
_FOREIGN_NAMES = ("Identity", "StatefulPartitionedCall", "unk__", ":", "/")


def try_case(case: Case) -> Outcome:
    """Build, export and compare; never raises."""
    import keras

    if case.needs and importlib.util.find_spec(case.needs) is None:
        return Outcome("skipped", f"{case.needs} is not installed")
    keras.backend.clear_session()
    keras.utils.set_random_seed(0)
    with quiet(), silent_tensorflow(), _temporary_folder() as folder:
        try:
            built = case.build()
            subject = built if isinstance(built, Subject) else Subject(built, built)
            if isinstance(subject.source, keras.Model):
                spread_weights(subject.source)
        except Exception as error:
            return Outcome("broken", _line(error))
        finally:
            keras.config.set_dtype_policy("float32")
        random = np.random.default_rng(0)
        started = time.perf_counter()
        try:
            path = _export(case, subject, folder, random)
        except ExportError as error:
            status = "failed" if "\n" in str(error) else "refused"
            return Outcome(status, _line(error), time.perf_counter() - started)
        except Exception as error:
            return Outcome("failed", _line(error), time.perf_counter() - started)
        return _judge(case, subject, path, time.perf_counter() - started, random)


@contextmanager
def _temporary_folder() -> Iterator[str]:
    """Make a folder in which all temporary files of this process are made, those of the cases too."""
    with tempfile.TemporaryDirectory(prefix="headgate-coverage-") as folder:
        before, tempfile.tempdir = tempfile.tempdir, folder
        try:
            yield folder
        finally:
            tempfile.tempdir = before


def _export(case: Case, subject: Subject, folder: str, random: np.random.Generator) -> Path:
    examples = _draw(case, 17, case.free[0], random) if case.examples else None
    outputs = case.outputs or _output_names(subject)
    options: dict[str, Any] = {"name": "case", "heads": dict.fromkeys(outputs), **case.options}
    return export_model(subject.source, Path(folder, "models"), examples=examples, **options).path


def _output_names(subject: Subject) -> list[str]:
    """Return what the outputs are called, to export them without heads: these are covered by the exporter's tests."""
    from headgate.exporter.tracing.traced_models import trace

    return [spec.name for spec in trace(subject.reference).outputs]


def _judge(case: Case, subject: Subject, path: Path, seconds: float, random: np.random.Generator) -> Outcome:
    import onnx
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        return Outcome("unloadable", _line(error), seconds)
    signature = signature_from_json(session.get_modelmeta().custom_metadata_map[METADATA_KEY])
    nodes = sum(1 for _ in nodes_of(onnx.load(path, load_external_data=False).graph))
    worst, rule = 0.0, ""
    if bad_name := _bad_name(case, signature, session):
        return Outcome("badly named", bad_name, seconds, nodes)
    for rows, free in zip(_BATCH_SIZES, case.free, strict=True):
        arrays = _draw(case, rows, free, random)
        try:
            expected = _reference_outputs(case, subject, arrays, signature)
        except Exception as error:
            return Outcome("broken", f"Keras itself fails: {_line(error)}", seconds, nodes)
        feeds = {spec.name: arrays[spec.name].astype(NUMPY_DTYPES[spec.datatype]) for spec in signature.inputs}
        try:
            actual = session.run(list(expected), feeds)
        except Exception as error:
            return Outcome("unloadable", _line(error), seconds, nodes)
        for (name, wanted), got in zip(expected.items(), actual, strict=True):
            difference = _difference(wanted, got, *_TOLERANCES[_is_narrow(subject, wanted)])
            if isinstance(difference, str):
                proven = next(one for one in signature.verification.tolerances if one.output == name)
                rule = f"output '{name}' within {proven.rule}"
                difference = _difference(wanted, got, proven.absolute, proven.relative)
            if isinstance(difference, str):
                return Outcome("wrong", f"output '{name}' at batch size {rows}: {difference}", seconds, nodes, worst)
            worst = max(worst, difference)
    return Outcome("equal", rule, seconds, nodes, worst)


def _draw(case: Case, rows: int, free: int, random: np.random.Generator) -> dict[str, NDArray[Any]]:
    """Return inputs, floating point numbers of any width such that float32 holds them."""
    arrays = {}
    for name, values in case.inputs.items():
        array = values.draw(rows, free, random)
        dtype = "float32" if "float" in values.dtype else values.dtype
        arrays[name] = array if dtype == "string" else array.astype(dtype)
    return arrays


def _reference_outputs(
    case: Case, subject: Subject, arrays: Mapping[str, NDArray[Any]], signature: Signature
) -> dict[str, NDArray[Any]]:
    """Return Keras' outputs by the names that they have to have in ONNX: keys of a dictionary, else their order."""
    import keras
    import tensorflow as tf

    tensors = {name: tf.constant(array, case.inputs[name].dtype) for name, array in arrays.items()}
    with tf.device("/cpu:0"):
        if case.call:
            result = case.call(subject.reference, tensors)
        else:
            given = list(tensors.values()) if len(tensors) > 1 else next(iter(tensors.values()))
            result = subject.reference(given, training=False)
    names = [spec.name for spec in signature.outputs]
    if isinstance(result, dict) and all(clean_name(key, key) in names for key in result):
        return {clean_name(key, key): _numpy(tensor) for key, tensor in result.items()}
    return dict(zip(names, map(_numpy, keras.tree.flatten(result)), strict=True))


def _numpy(tensor: Any) -> NDArray[Any]:
    array = np.asarray(tensor)
    return array.astype(np.float32) if array.dtype.name == "bfloat16" else array


def _difference(wanted: NDArray[Any], got: NDArray[Any], absolute: float, relative: float) -> float | str:
    """Return the largest difference as a part of the largest value, or in words why it is too large."""
    if wanted.shape != got.shape:
        return f"ONNX gives shape {list(got.shape)}, Keras {list(wanted.shape)}"
    if wanted.dtype.kind in "SUO":
        texts = [[x.decode() if isinstance(x, bytes) else x for x in array.ravel()] for array in (wanted, got)]
        return 0.0 if texts[0] == texts[1] else "ONNX and Keras give different text"
    if wanted.dtype.kind != got.dtype.kind:
        return f"ONNX gives {got.dtype}, Keras {wanted.dtype}"
    exact, came = wanted.astype(np.float64), got.astype(np.float64)
    if wanted.dtype.kind != "f":
        absolute = relative = 0
    if not np.allclose(came, exact, rtol=relative, atol=absolute, equal_nan=True):
        return f"ONNX differs from Keras by up to {np.nanmax(np.abs(came - exact)):.3g}"
    finite = np.isfinite(exact)
    largest = np.abs(exact[finite]).max(initial=0)
    return float(np.abs(came - exact)[finite].max(initial=0) / largest) if largest else 0.0


def _is_narrow(subject: Subject, output: NDArray[Any]) -> bool:
    """Return whether a model computes in 16 bits, in part at least."""
    layers: Any = getattr(subject.reference, "_flatten_layers", tuple)()
    narrow = any(getattr(layer, "compute_dtype", "") in ("float16", "bfloat16") for layer in layers)
    return narrow or output.dtype == np.float16


def _bad_name(case: Case, signature: Signature, session: Any) -> str:
    """Say what is wrong with the names of inputs, outputs and free dimensions; empty if nothing is."""
    inputs, outputs = session.get_inputs(), session.get_outputs()
    if {value.name for value in inputs} != set(case.inputs):
        return f"the inputs are called {[value.name for value in inputs]}, expected {list(case.inputs)}"
    if [value.name for value in outputs] != [spec.name for spec in signature.outputs]:
        return f"the outputs are called {[value.name for value in outputs]}, the signature has other names"
    if case.outputs and {value.name for value in outputs} != set(case.outputs):
        return f"the outputs are called {[value.name for value in outputs]}, expected {list(case.outputs)}"
    for value in (*inputs, *outputs):
        free = [size for size in value.shape if isinstance(size, str)]
        if any(foreign in name for name in (value.name, *free) for foreign in _FOREIGN_NAMES) or None in value.shape:
            return f"'{value.name}' has shape {value.shape}"
        if value.shape[:1] != ["batch"]:
            return f"the first dimension of '{value.name}' is {value.shape[:1]}, expected 'batch'"
    return ""


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__

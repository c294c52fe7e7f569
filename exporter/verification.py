"""Whether the ONNX model computes what the Keras model computes."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headgate.exporter.errors import VerificationError, reason_of
from headgate.exporter.traced_models import Arrays, TracedModel
from headgate.v1 import DataType, ParityCheck, TensorSpec, Verification
from headgate.v1.tensors import NUMPY_DTYPES

#: One row, a small batch, and a batch that is no multiple of any vector width.
BATCH_SIZES = (1, 3, 17)
#: Sizes of free dimensions, one a batch size: networks that halve images need multiples of a power of two.
_FREE_SIZES = (32, 64, 32)

#: |onnx - keras| <= absolute + relative * |keras|. Both sides round differently, and deep networks add that up to about
#: 1e-4 of a value; a wrongly mapped operation is off by orders of magnitude more.
_TOLERANCES = (1e-4, 1e-3)
#: For models that compute in 16 bits: float16 has 11 significant bits, bfloat16 8.
_HALF_TOLERANCES = (1e-2, 2e-2)


def verify(traced: TracedModel, onnx_bytes: bytes, examples: Arrays | None = None) -> Verification:
    """Compare Keras with onnxruntime on the CPU, on random inputs and on examples, at batch sizes 1, 3 and 17.

    Random numbers are standard normal; integers lie below the smallest vocabulary of the model's Embedding and
    CategoryEncoding layers, or 10. Text cannot be made up: it needs examples. Where the Keras model refuses random
    inputs, examples are enough. NaN and infinities are equal to themselves.

    Args:
        traced: the Keras model.
        onnx_bytes: the serialised ONNX model.
        examples: real inputs, repeated where they are fewer than 17 rows.

    Raises:
        VerificationError: an output is off by more than the tolerance, the ONNX model does not run, or there is nothing
            to compare with.
    """
    session = open_session(onnx_bytes)
    absolute, relative = tolerances_of(traced)
    verification = Verification(absolute_tolerance=absolute, relative_tolerance=relative)
    for origin, inputs in _batches(traced, examples):
        rows = len(next(iter(inputs.values())))
        try:
            expected = traced.predict(inputs)
        except Exception as error:
            if origin == "random" and examples is not None:
                continue
            raise VerificationError(
                f"the Keras model itself fails on {origin} inputs of {rows} rows: {reason_of(error)}; "
                "hand over other examples="
            ) from error
        try:
            actual = session.run(list(expected), inputs)
        except Exception as error:
            raise VerificationError(
                f"onnxruntime fails on {origin} inputs of {rows} rows, where Keras does not: {reason_of(error)}"
            ) from error
        for (name, keras_output), onnx_output in zip(expected.items(), actual, strict=True):
            verification.checks.append(_compare(name, origin, keras_output, onnx_output, absolute, relative))
    return verification


def open_session(onnx_bytes: bytes) -> Any:
    """Load an ONNX model into onnxruntime, on the CPU.

    Raises:
        VerificationError: it does not load.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(onnx_bytes, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise VerificationError(f"onnxruntime cannot load the converted model: {reason_of(error)}") from error


def tolerances_of(traced: TracedModel) -> tuple[float, float]:
    """Return how much outputs may differ: absolutely, and as a part of the value."""
    in_16_bits = any(layer.compute_dtype in ("float16", "bfloat16") for layer in traced.model._flatten_layers())
    return _HALF_TOLERANCES if in_16_bits else _TOLERANCES


def _compare(
    name: str, origin: str, expected: NDArray[Any], actual: NDArray[Any], absolute: float, relative: float
) -> ParityCheck:
    what = f"output '{name}' at batch size {len(expected)}, {origin} inputs"
    if expected.shape != actual.shape:
        raise VerificationError(f"{what}: ONNX gives shape {list(actual.shape)}, Keras {list(expected.shape)}")
    if expected.dtype.kind in "SUO":
        if [_text(one) for one in expected.ravel()] != [_text(one) for one in actual.ravel()]:
            raise VerificationError(f"{what}: ONNX and Keras give different text")
        return ParityCheck(output=name, batch_size=len(expected), inputs=origin)
    wanted, got = expected.astype(np.float64), actual.astype(np.float64)
    finite = np.isfinite(wanted)
    if expected.size and not finite.any():
        raise VerificationError(f"{what}: Keras gives no finite number, so there is nothing to compare; give examples=")
    if not np.array_equal(wanted[~finite], got[~finite], equal_nan=True):
        raise VerificationError(f"{what}: Keras gives NaN or infinities where ONNX does not")
    magnitudes, errors = np.abs(wanted[finite]), np.abs(got[finite] - wanted[finite])
    significant = magnitudes > absolute
    check = ParityCheck(
        output=name,
        batch_size=len(expected),
        inputs=origin,
        max_absolute_error=errors.max(initial=0),
        max_relative_error=(errors[significant] / magnitudes[significant]).max(initial=0),
    )
    # Not `any(errors > ...)`: a NaN must fail.
    if not np.all(errors <= absolute + relative * magnitudes):
        raise VerificationError(
            f"{what}: ONNX differs from Keras by up to {check.max_absolute_error:.3g} "
            f"({check.max_relative_error:.3g} of the value), allowed is {absolute:g} + {relative:g} of the value; "
            "the conversion of this model is wrong, nothing was written"
        )
    return check


def _batches(traced: TracedModel, examples: Arrays | None) -> Iterator[tuple[str, Arrays]]:
    text = [spec.name for spec in traced.inputs if spec.datatype == DataType.DATA_TYPE_STRING]
    if examples is None and text:
        raise VerificationError(f"input '{text[0]}' takes text, which cannot be made up; hand over examples=")
    if not text:
        random = np.random.default_rng(0)
        vocabulary = vocabulary_of(traced)
        for rows, free in zip(BATCH_SIZES, _FREE_SIZES, strict=True):
            yield "random", {spec.name: random_tensor(spec, rows, free, vocabulary, random) for spec in traced.inputs}
    if examples is not None:
        for rows in BATCH_SIZES:
            yield "given", {name: array.take(range(rows), axis=0, mode="wrap") for name, array in examples.items()}


def random_tensor(spec: TensorSpec, rows: int, free: int, vocabulary: int, random: np.random.Generator) -> NDArray[Any]:
    """Draw a tensor of `rows` rows, free dimensions of size `free`, integers below `vocabulary`."""
    dtype = NUMPY_DTYPES[spec.datatype]
    shape = [rows, *(free if size < 0 else size for size in spec.shape[1:])]
    if dtype.kind == "b":
        return random.integers(0, 2, shape).astype(dtype)
    if dtype.kind in "iu":
        return random.integers(0, vocabulary, shape).astype(dtype)
    return random.standard_normal(shape).astype(dtype)


def vocabulary_of(traced: TracedModel) -> int:
    """Return a number below which integers are safe for every lookup of the model."""
    import keras

    sizes = [10]
    for layer in traced.model._flatten_layers():
        if isinstance(layer, keras.layers.Embedding):
            sizes.append(layer.input_dim)
        elif isinstance(layer, keras.layers.CategoryEncoding):
            sizes.append(layer.num_tokens)
    return min(sizes)


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value

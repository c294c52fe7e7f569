"""What Keras answers to some inputs: what ONNX is held against."""

from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headgate.exporter.errors import VerificationError, reason_of
from headgate.exporter.proof.random_inputs import RandomInputs, free_axes, free_sizes
from headgate.exporter.tracing.traced_models import Arrays, TracedModel
from headgate.v1 import FreeSize

#: One row, a small batch, and a batch that is no multiple of any vector width.
BATCH_SIZES = (1, 3, 17)
#: Of inputs that would take more, such as photographs, a batch has at most so many rows: what layers make of one takes
#: a hundred times its memory.
_LARGE_BATCH_BYTES, _LARGE_BATCH_ROWS = 2**22, 5


@dataclass(frozen=True)
class KerasRun:
    """One batch of inputs, and Keras' outputs.

    Attributes:
        origin: "random" or "given".
        inputs: by name, `[rows, ...]`.
        outputs: by name, `[rows, ...]`.
        free_sizes: of the inputs' free axes, but the batch.
    """

    origin: str
    inputs: Arrays
    outputs: Arrays
    free_sizes: list[FreeSize]

    @property
    def rows(self) -> int:
        """The size of the batch."""
        return len(next(iter(self.inputs.values())))

    def __str__(self) -> str:
        """Write what was run: `batch size 3, random inputs, tokens axis 1 of size 7`."""
        sizes = [f"{free.input} axis {free.axis} of size {free.size}" for free in self.free_sizes]
        return ", ".join([f"batch size {self.rows}", f"{self.origin} inputs", *sizes])


def run_keras(traced: TracedModel, examples: Arrays | None = None) -> list[KerasRun]:
    """Run the Keras model on random inputs and on examples, at batch sizes 1, 3 and 17, or 5 where rows are large.

    The free sizes of random inputs are the first that Keras accepts and answers with finite numbers (see `free_sizes`),
    for each batch others where it accepts them. Where Keras refuses random inputs, examples are enough.

    Args:
        traced: the Keras model.
        examples: real inputs, repeated where they are fewer than 17 rows.

    Raises:
        VerificationError: Keras fails on the examples, or on random inputs and there are no examples.
    """
    try:
        runs = _run_random(traced)
    except VerificationError:
        if examples is None:
            raise
        runs = []
    if examples is not None:
        for rows in BATCH_SIZES:
            inputs = {name: array.take(range(rows), axis=0, mode="wrap") for name, array in examples.items()}
            sizes = [
                FreeSize(input=name, axis=axis, size=inputs[name].shape[axis])
                for name, axis in free_axes(traced.inputs)
            ]
            runs.append(_run(traced, "given", inputs, sizes))
    return runs


def _run_random(traced: TracedModel) -> list[KerasRun]:
    random = RandomInputs(traced)
    runs: list[KerasRun] = []
    # The largest batch has the smallest sizes: that costs least.
    for rows in reversed(BATCH_SIZES):
        runs.append(_run_first_accepted(traced, random, rows, runs))
    return runs[::-1]


def _run_first_accepted(traced: TracedModel, random: RandomInputs, rows: int, before: list[KerasRun]) -> KerasRun:
    # Twice and three times the first sizes are equal where those are, and multiples of what those are multiples of.
    scaled = [
        FreeSize(input=free.input, axis=free.axis, size=free.size * (len(before) + 1))
        for run in before[:1]
        for free in run.free_sizes
    ]
    fallback: KerasRun | None = None
    refusal: VerificationError | None = None
    for sizes in chain([scaled] * bool(scaled), free_sizes(traced.inputs)):
        try:
            inputs = random.draw(rows, sizes)
            if sizes and sizes is not scaled:
                _infer_shapes(traced, inputs)
            run = _run(traced, "random", inputs, sizes)
        except VerificationError as error:
            refusal = refusal or error
            continue
        if all(_has_numbers(output) for output in run.outputs.values()):
            return run
        _refuse_broken_weights(traced)
        fallback = fallback or run
    if fallback is None:
        raise refusal or AssertionError("there is always a choice of sizes")
    return fallback


def _refuse_broken_weights(traced: TracedModel) -> None:
    """Raise VerificationError if a weight holds NaN, which no inputs make up for."""
    import tensorflow as tf

    for variable in (*traced.variables, *traced.large_variables):
        value = tf.convert_to_tensor(variable)
        if value.dtype.is_floating and bool(tf.reduce_any(tf.math.is_nan(value))):
            name = getattr(variable, "path", variable.name).partition(":")[0]
            raise VerificationError(
                f"Keras gives no finite number, since the weight '{name}' holds NaN: the training diverged; export "
                "the model as it was before that"
            )


def _infer_shapes(traced: TracedModel, inputs: Arrays) -> None:
    """Refuse inputs that are too small for a pooling layer: they end the process, unless TensorFlow plans ahead."""
    import tensorflow as tf

    specs = [
        tf.TensorSpec(inputs[spec.name].shape, tensor.dtype)
        for spec, tensor in zip(traced.inputs, traced.function.inputs, strict=False)
    ]
    try:
        tf.function(traced.call, autograph=False).get_concrete_function(*specs)
    except Exception as error:
        raise _refusal("random", inputs, error) from error


def _has_numbers(output: NDArray[Any]) -> bool:
    """Return whether something is left of the inputs: the mean of nothing is NaN, its maximum the least number."""
    with np.errstate(over="ignore"):
        return output.dtype.kind != "f" or bool(np.isfinite(output * 2).any())


def _run(traced: TracedModel, origin: str, inputs: Arrays, sizes: list[FreeSize]) -> KerasRun:
    if sum(array.nbytes for array in inputs.values()) > _LARGE_BATCH_BYTES:
        inputs = {name: array[:_LARGE_BATCH_ROWS] for name, array in inputs.items()}
    try:
        return KerasRun(origin, inputs, traced.predict(inputs), sizes)
    except Exception as error:
        raise _refusal(origin, inputs, error) from error


def _refusal(origin: str, inputs: Arrays, error: Exception) -> VerificationError:
    rows = len(next(iter(inputs.values())))
    return VerificationError(
        f"the Keras model itself fails on {origin} inputs of {rows} rows: {reason_of(error)}; hand over other examples="
    )

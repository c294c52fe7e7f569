"""Axes along which a server may fill inputs up: how they are written, and the proof that it changes no answer."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headgate.exporter.errors import PaddingError, listed, reason_of
from headgate.exporter.proof.keras_runs import BATCH_SIZES
from headgate.exporter.proof.random_inputs import RandomInputs, free_axes
from headgate.exporter.proof.sessions import OnnxModel, open_session
from headgate.exporter.proof.tolerances import precision_of, tolerance_of
from headgate.exporter.tracing.traced_models import Arrays, TracedModel
from headgate.v1 import FreeSize, PaddedInput, PaddedOutput, Padding, Tolerance
from headgate.v1.paddings import check_paddings
from headgate.v1.parity import compare
from headgate.v1.tensors import format_shape

_AXIS = re.compile(r"(?P<input>[^:=]+):(?P<axis>\d+)(=(?P<fill>.+))?")
#: The largest size of random inputs, and the most that is added to a size.
_MAX_SIZE = 32


def read_padding(text: str) -> Padding:
    """Read the axes that have one size: `INPUT:AXIS[=FILL]`, several by commas, and `mask=INPUT`.

    Raises:
        PaddingError: the text is none of that.

    >>> padding = read_padding("tokens:1,segments:1=2,mask=attention")
    >>> [(padded.input, padded.axis, padded.fill) for padded in padding.inputs], padding.mask
    ([('tokens', 1, 0.0), ('segments', 1, 2.0)], 'attention')
    """
    padding = Padding()
    for part in text.split(","):
        key, _, value = part.strip().partition("=")
        if key == "mask" and value and not padding.mask:
            padding.mask = value
            continue
        named = _AXIS.fullmatch(part.strip())
        try:
            fields = named.groupdict() if named else {}
            padding.inputs.append(
                PaddedInput(input=fields["input"], axis=int(fields["axis"]), fill=float(fields["fill"] or 0))
            )
        except (KeyError, ValueError):
            raise PaddingError(
                f"the padding '{text}' is not INPUT:AXIS[=FILL],...[,mask=INPUT], such as 'tokens:1' or "
                "'tokens:1=0,mask=attention'"
            ) from None
    return padding


def find_padding(paddings: Sequence[str | Padding], traced: TracedModel) -> list[Padding]:
    """Read paddings and find the axes that they name in a model.

    Raises:
        PaddingError: a padding cannot be read, or the model does not have what it names.
    """
    read = [read_padding(padding) if isinstance(padding, str) else padding for padding in paddings]
    try:
        check_paddings(read, traced.inputs, traced.outputs)
    except ValueError as error:
        raise PaddingError(str(error)) from error
    return read


def prove_padding(
    paddings: Sequence[Padding], traced: TracedModel, onnx_model: OnnxModel, examples: Arrays | None = None
) -> list[Padding]:
    """Run an ONNX model on inputs as they are and filled up; return the paddings with the outputs that they reach.

    Random inputs are of random sizes up to 32, given ones as they came, and up to 32 elements are filled in. An axis of
    an output that has the padded size in all runs is cut back. What is left of each output has to be the same, within
    the tolerances of `headgate.exporter.proof.tolerances`.

    Raises:
        PaddingError: it is not, or the model cannot run on such inputs.
    """
    runs = _run(paddings, traced, onnx_model, examples)
    proven = []
    for index, padding in enumerate(paddings):
        reached = [
            PaddedOutput(output=name, axis=axis)
            for name, axis in free_axes(traced.outputs)
            if all(run.reaches(index, name, axis) for run in runs)
        ]
        proven.append(Padding(inputs=padding.inputs, mask=padding.mask, outputs=reached))
    for run in runs:
        for spec in traced.outputs:
            expected = run.expected[spec.name]
            _compare(run, proven, tolerance_of(spec.name, [expected], precision_of(traced, expected)))
    return proven


@dataclass(frozen=True)
class _Run:
    """The outputs of inputs as they are, and filled up from `sizes` to `larger`, one size a padding."""

    sizes: list[int]
    larger: list[int]
    expected: Arrays
    actual: Arrays

    def reaches(self, padding: int, output: str, axis: int) -> bool:
        """Return whether an axis of an output has the size of a padding."""
        sizes = self.expected[output].shape[axis], self.actual[output].shape[axis]
        return sizes == (self.sizes[padding], self.larger[padding])


def _run(
    paddings: Sequence[Padding], traced: TracedModel, onnx_model: OnnxModel, examples: Arrays | None
) -> list[_Run]:
    session = open_session(onnx_model)
    names = [spec.name for spec in traced.outputs]
    random = np.random.default_rng(0)
    runs = []
    refused: Exception | None = None
    for inputs in _batches(paddings, traced, examples, random):
        sizes = [inputs[padding.inputs[0].input].shape[padding.inputs[0].axis] for padding in paddings]
        added = random.integers(1, _MAX_SIZE + 1, len(paddings)).tolist()
        try:
            expected = session.run(names, inputs)
        except Exception as error:
            # Not every size, and not every number, is for every model.
            refused = error
            continue
        try:
            actual = session.run(names, _fill_up(inputs, paddings, added))
        except Exception as error:
            raise PaddingError(
                f"the model fails when {_describe(paddings, sizes, added)}: {reason_of(error)}"
            ) from error
        larger = [size + more for size, more in zip(sizes, added, strict=True)]
        runs.append(_Run(sizes, larger, dict(zip(names, expected, strict=True)), dict(zip(names, actual, strict=True))))
    if refused is not None and not runs:
        raise PaddingError(
            f"the model fails on random inputs, so that nothing is known of padding: {reason_of(refused)}; "
            "hand over examples="
        ) from refused
    return runs


def _batches(
    paddings: Sequence[Padding], traced: TracedModel, examples: Arrays | None, random: np.random.Generator
) -> Iterator[Arrays]:
    random_inputs = RandomInputs(traced)
    for rows in BATCH_SIZES * 2:
        if examples is not None:
            yield {name: array.take(range(rows), axis=0, mode="wrap") for name, array in examples.items()}
        sizes = dict.fromkeys(free_axes(traced.inputs), _MAX_SIZE)
        for padding in paddings:
            size = int(random.integers(1, _MAX_SIZE + 1))
            sizes |= {(padded.input, padded.axis): size for padded in padding.inputs}
            if padding.mask:
                sizes[padding.mask, 1] = size
        free_sizes = [FreeSize(input=name, axis=axis, size=size) for (name, axis), size in sizes.items()]
        inputs = random_inputs.draw(rows, free_sizes)
        for padding in paddings:
            if padding.mask:
                inputs[padding.mask] = np.ones_like(inputs[padding.mask])
        yield inputs


def _fill_up(inputs: Arrays, paddings: Sequence[Padding], added: Sequence[int]) -> Arrays:
    filled = dict(inputs)
    for padding, more in zip(paddings, added, strict=True):
        for padded in padding.inputs:
            fill = "" if inputs[padded.input].dtype == object else padded.fill
            filled[padded.input] = _append(filled[padded.input], padded.axis, more, fill)
        if padding.mask:
            filled[padding.mask] = _append(filled[padding.mask], 1, more, 0)
    return filled


def _append(array: NDArray[Any], axis: int, count: int, fill: Any) -> NDArray[Any]:
    shape = list(array.shape)
    shape[axis] = count
    return np.concatenate([array, np.full(shape, fill, array.dtype)], axis)


def _compare(run: _Run, paddings: Sequence[Padding], tolerance: Tolerance) -> None:
    name = tolerance.output
    expected, actual = run.expected[name], run.actual[name]
    for padding, size in zip(paddings, run.sizes, strict=True):
        for output in padding.outputs:
            if output.output == name:
                actual = actual.take(range(size), output.axis)
    added = [larger - size for size, larger in zip(run.sizes, run.larger, strict=True)]
    what = f"output '{name}' when {_describe(paddings, run.sizes, added)}"
    if expected.shape != actual.shape:
        raise PaddingError(
            f"padding changes the shape of {what}: {format_shape(expected.shape)} becomes "
            f"{format_shape(actual.shape)}, which cannot be cut back; leave this padding out"
        )
    difference = compare(expected, actual, tolerance.absolute, tolerance.relative)
    if not difference.is_allowed:
        raise PaddingError(
            f"padding changes {what}: {difference}, allowed is {tolerance.absolute:.3g} + {tolerance.relative:g} of "
            "the value: the model takes what is filled in for data; mask it (Embedding(mask_zero=True), Masking, a "
            "mask input), give another fill value, or leave this padding out"
        )


def _describe(paddings: Sequence[Padding], sizes: Sequence[int], added: Sequence[int]) -> str:
    return " and ".join(
        f"{listed((padded.input for padded in padding.inputs), ' and ')} of size {size} gets {more} more elements"
        for padding, size, more in zip(paddings, sizes, added, strict=True)
    )

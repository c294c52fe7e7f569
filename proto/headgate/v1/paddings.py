"""What a signature says of padding, against the model's tensors."""

from collections.abc import Iterable

import numpy as np

from headgate.v1.signature_pb2 import Padding
from headgate.v1.tensor_pb2 import DataType, TensorSpec
from headgate.v1.tensors import NUMPY_DTYPES, convert, format_shape, format_spec


def check_paddings(paddings: Iterable[Padding], inputs: Iterable[TensorSpec], outputs: Iterable[TensorSpec]) -> None:
    """Check that paddings name free axes of a model's tensors, each once, and fill them with what fits.

    Raises:
        ValueError: they do not; one line says why.

    >>> from headgate.v1 import PaddedInput
    >>> tokens = TensorSpec(name="tokens", datatype=DataType.DATA_TYPE_INT32, shape=[-1, 8])
    >>> check_paddings([Padding(inputs=[PaddedInput(input="tokens", axis=1)])], [tokens], [])
    Traceback (most recent call last):
    ...
    ValueError: a padding names axis 1 of input 'tokens', which has the fixed size 8
    """
    free_inputs, free_outputs = _FreeAxes("input", inputs), _FreeAxes("output", outputs)
    fills: dict[str, float] = {}
    for padding in paddings:
        if not padding.inputs:
            raise ValueError("a padding names no input; give the axis that is to be filled up")
        for padded in padding.inputs:
            spec = free_inputs.take(padded.input, padded.axis)
            if not _can_hold(spec, padded.fill):
                raise ValueError(f"input '{spec.name}' ({format_spec(spec)}) cannot be filled with {padded.fill:g}")
            if fills.setdefault(spec.name, padded.fill) != padded.fill:
                raise ValueError(
                    f"input '{spec.name}' is to be filled with {fills[spec.name]:g} along one axis and with "
                    f"{padded.fill:g} along another; give one value"
                )
        if padding.mask:
            spec = free_inputs.take(padding.mask, 1)
            if len(spec.shape) != 2 or spec.datatype == DataType.DATA_TYPE_STRING:
                raise ValueError(
                    f"input '{spec.name}' ({format_spec(spec)}) is no mask of numbers or bools [batch,any]"
                )
        for output in padding.outputs:
            free_outputs.take(output.output, output.axis)


class _FreeAxes:
    """The free axes of a model's inputs or outputs, which paddings may name once."""

    def __init__(self, kind: str, specs: Iterable[TensorSpec]) -> None:
        self._kind = kind
        self._specs = {spec.name: spec for spec in specs}
        self._taken: set[tuple[str, int]] = set()

    def take(self, name: str, axis: int) -> TensorSpec:
        spec = self._specs.get(name)
        if spec is None:
            known = ", ".join(f"'{other}'" for other in self._specs)
            raise ValueError(f"a padding names {self._kind} '{name}', but the model has {known}")
        named = f"a padding names axis {axis} of {self._kind} '{name}'"
        if not 0 < axis < len(spec.shape):
            raise ValueError(f"{named}, which has the shape {format_shape(spec.shape)}; axes count from 0, the batch")
        if spec.shape[axis] >= 0:
            raise ValueError(f"{named}, which has the fixed size {spec.shape[axis]}")
        if (name, axis) in self._taken:
            raise ValueError(f"{named}, which is padded already; name it once")
        self._taken.add((name, axis))
        return spec


def _can_hold(spec: TensorSpec, fill: float) -> bool:
    if spec.datatype == DataType.DATA_TYPE_STRING:
        # Always filled with "".
        return fill == 0
    return not convert(np.array(fill), NUMPY_DTYPES[spec.datatype])[1].any()

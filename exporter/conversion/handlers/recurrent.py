"""Recurrent layers as ONNX's LSTM, GRU and RNN nodes.

All that ONNX knows of masks is `sequence_lens`: of each row the first steps count, the others do not. Keras' masks may
hide any step, which leaves the states as they are and repeats the last output. So the steps that count are packed to
the front, and each step's output is taken from the last packed step up to it: exact for every mask.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import zip_longest
from typing import Any

import numpy as np

from headgate.exporter.conversion.handlers.nodes import add, cast, constant, replace

#: What a recurrent layer leaves in TensorFlow's graph. No operation but this one takes and gives any number of tensors
#: and carries a text; it would call a Python function of that name, but is never run.
MARK = "PyFuncStateless"
_TOKEN = "headgate recurrent layer "

#: How many states each operator has.
STATES = {"LSTM": 2, "GRU": 1, "RNN": 1}

_FIRST, _LAST = np.iinfo(np.int64).min, np.iinfo(np.int64).max


@dataclass(frozen=True)
class Recurrence:
    """What a recurrent layer does.

    Attributes:
        cells: the ONNX operator of each of the stacked cells, and its attributes.
        has_mask: steps may be hidden.
        go_backwards: the last step comes first, in the outputs too.
        return_sequences: the output is that of every step, else of the last one.
        zero_output_for_mask: the output of a hidden step is zero, else that of the step before it.
    """

    cells: list[tuple[str, dict[str, Any]]]
    has_mask: bool
    go_backwards: bool
    return_sequences: bool
    zero_output_for_mask: bool

    def to_token(self) -> str:
        """Return the text that marks a layer like this."""
        return _TOKEN + json.dumps(asdict(self))


def recurrent_layer(ctx: Any, old: Any, **_: Any) -> None:
    """Replace the mark of a recurrent layer.

    The inputs of the mark are the sequences (batch, steps, features); the mask (batch, steps), boolean, if it has one;
    the W, R and B of each cell, as its operator takes them; and the initial states (batch, units), if they are not
    zero. Its outputs are the layer's output and the last states.
    """
    token = old.get_attr_str("token")
    if not token.startswith(_TOKEN):
        return
    layer = Recurrence(**json.loads(token.removeprefix(_TOKEN)))
    sequences, *rest = old.input
    masking = _Masking(ctx, sequences, rest.pop(0), layer) if layer.has_mask else None
    weights, initial = rest[: 3 * len(layer.cells)], rest[3 * len(layer.cells) :]

    steps = add(ctx, "Transpose", masking.pack() if masking else sequences, perm=[1, 0, 2])
    lengths = [masking.lengths()] if masking else [""] if initial else []
    direction = "reverse" if layer.go_backwards and not masking else "forward"
    states: list[str] = []
    for index, (operator, attributes) in enumerate(layer.cells):
        count = STATES[operator]
        own = [_unsqueeze(ctx, state, 0) for state in initial[len(states) : len(states) + count]]
        tensors = [steps, *weights[3 * index : 3 * index + 3], *lengths, *own]
        outputs, *last = add(ctx, operator, *tensors, outputs=1 + count, direction=direction, **attributes)
        steps = _squeeze(ctx, outputs, 1)
        states += [_squeeze(ctx, state, 0) for state in last]

    output = states[-count]
    if layer.return_sequences:
        output = add(ctx, "Transpose", steps, perm=[1, 0, 2])
    if masking:
        output = masking.unpack(output) if layer.return_sequences else masking.last_output(output)
        states = [masking.last_state(*pair) for pair in zip_longest(states, initial)]
    elif layer.return_sequences and layer.go_backwards:
        output = _flip(ctx, output)
    replace(ctx, old, output, *states)


def reverse(ctx: Any, old: Any, **_: Any) -> None:
    """Reverse a tensor along constant axes, as Bidirectional does, by one node, where tf2onnx takes ten."""
    axes = old.inputs[1].get_tensor_value()
    replace(ctx, old, _flip(ctx, old.input[0], axes) if axes else old.input[0])


HANDLERS = {MARK: recurrent_layer, "ReverseV2": reverse}


class _Masking:
    """What a layer's mask does to its tensors. The batch is the first dimension of them all, and steps the second."""

    def __init__(self, ctx: Any, sequences: str, mask: str, layer: Recurrence) -> None:
        from tf2onnx import utils

        self._ctx, self._sequences, self._mask, self._layer = ctx, sequences, mask, layer
        counted = cast(ctx, mask, "INT64")
        # How many steps count up to each one, in the order in which the layer takes them.
        self._counts = add(ctx, "CumSum", counted, _integers(ctx, 1), reverse=int(layer.go_backwards))
        self._total = add(ctx, "ReduceSum", counted, _integers(ctx, [1]), keepdims=1)
        self._any = add(ctx, "Greater", self._total, _integers(ctx, 0))
        self._zero = constant(ctx, np.zeros((), utils.map_onnx_to_numpy_type(ctx.get_dtype(sequences))))

    def lengths(self) -> str:
        """Return how many packed steps each row has: (batch,), at least one, as cuDNN demands."""
        lengths = add(self._ctx, "Max", self._total, _integers(self._ctx, 1))
        return cast(self._ctx, add(self._ctx, "Squeeze", lengths, _integers(self._ctx, [1])), "INT32")

    def pack(self) -> str:
        """Return the sequences with the steps that count in front, in the order in which the layer takes them."""
        ctx = self._ctx
        order = add(ctx, "Where", self._mask, self._counts, _integers(ctx, _LAST))
        every = add(ctx, "Slice", add(ctx, "Shape", order), _integers(ctx, [1]), _integers(ctx, [2]))
        _, order = add(ctx, "TopK", order, every, outputs=2, axis=1, largest=0)
        return self._gather(self._sequences, order)

    def unpack(self, outputs: str) -> str:
        """Return what the layer gives at each step, of the outputs of the packed steps."""
        ctx, counts, mask = self._ctx, self._counts, self._mask
        if self._layer.go_backwards:
            counts, mask = _flip(ctx, counts), _flip(ctx, mask)
        shown = mask if self._layer.zero_output_for_mask else add(ctx, "Greater", counts, _integers(ctx, 0))
        # -1 where no step has counted yet: some step, which is not shown.
        outputs = self._gather(outputs, add(ctx, "Sub", counts, _integers(ctx, 1)))
        return str(add(ctx, "Where", _unsqueeze(ctx, shown, 2), outputs, self._zero))

    def last_output(self, state: str) -> str:
        """Return what the layer gives at the last step, of the last state: (batch, units)."""
        shown = self._any
        if self._layer.zero_output_for_mask:
            last = 0 if self._layer.go_backwards else -1
            shown = add(self._ctx, "Gather", self._mask, _integers(self._ctx, [last]), axis=1)
        return str(add(self._ctx, "Where", shown, state, self._zero))

    def last_state(self, state: str, initial: str | None) -> str:
        """Return the last state: (batch, units), the initial one where no step counts."""
        return str(add(self._ctx, "Where", self._any, state, initial or self._zero))

    def _gather(self, tensor: str, steps: str) -> str:
        return str(add(self._ctx, "GatherND", tensor, _unsqueeze(self._ctx, steps, 2), batch_dims=1))


def _flip(ctx: Any, tensor: str, axes: Sequence[int] = (1,)) -> str:
    bounds = [[-1] * len(axes), [_FIRST] * len(axes), list(axes), [-1] * len(axes)]
    return str(add(ctx, "Slice", tensor, *(_integers(ctx, bound) for bound in bounds)))


def _unsqueeze(ctx: Any, tensor: str, axis: int) -> str:
    return str(add(ctx, "Unsqueeze", tensor, _integers(ctx, [axis])))


def _squeeze(ctx: Any, tensor: str, axis: int) -> str:
    return str(add(ctx, "Squeeze", tensor, _integers(ctx, [axis])))


def _integers(ctx: Any, values: int | list[int]) -> str:
    return constant(ctx, np.array(values, np.int64))

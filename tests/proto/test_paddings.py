"""Paddings against the tensors of a model."""

import math
import re

import pytest

from headgate.v1 import DataType, PaddedInput, PaddedOutput, Padding, Signature, TensorSpec
from headgate.v1.paddings import check_paddings
from headgate.v1.signatures import signature_from_json, signature_to_json

INPUTS = [
    TensorSpec(name="tokens", datatype=DataType.DATA_TYPE_INT8, shape=[-1, -1]),
    TensorSpec(name="image", datatype=DataType.DATA_TYPE_FP16, shape=[-1, -1, -1, 3]),
    TensorSpec(name="words", datatype=DataType.DATA_TYPE_STRING, shape=[-1, -1]),
    TensorSpec(name="flags", datatype=DataType.DATA_TYPE_BOOL, shape=[-1, -1]),
]
OUTPUTS = [
    TensorSpec(name="tags", datatype=DataType.DATA_TYPE_FP32, shape=[-1, -1, 4]),
    TensorSpec(name="score", datatype=DataType.DATA_TYPE_FP32, shape=[-1, 1]),
]


def padding(*inputs, mask="", outputs=()):
    return Padding(
        inputs=[PaddedInput(input=name, axis=axis, fill=fill) for name, axis, fill in inputs],
        mask=mask,
        outputs=[PaddedOutput(output=name, axis=axis) for name, axis in outputs],
    )


@pytest.mark.parametrize(
    "paddings",
    [
        [],
        [padding(("tokens", 1, -128))],
        [padding(("tokens", 1, 0), ("words", 1, 0), mask="flags", outputs=[("tags", 1)])],
        [padding(("image", 1, 0.1)), padding(("image", 2, 0.1))],
        [padding(("image", 1, math.inf))],
        [padding(("flags", 1, 1), mask="tokens")],
    ],
)
def test_accepted(paddings):
    check_paddings(paddings, INPUTS, OUTPUTS)


@pytest.mark.parametrize(
    ("paddings", "message"),
    [
        ([Padding()], "a padding names no input; give the axis that is to be filled up"),
        ([padding(("other", 1, 0))],
         "a padding names input 'other', but the model has 'tokens', 'image', 'words', 'flags'"),
        ([padding(("tags", 1, 0))], "a padding names input 'tags', but"),
        ([padding(("tokens", 0, 0))],
         "a padding names axis 0 of input 'tokens', which has the shape [batch,any]; axes count from 0, the batch"),
        ([padding(("tokens", 2, 0))], "a padding names axis 2 of input 'tokens', which has the shape [batch,any]"),
        ([padding(("image", 3, 0))], "a padding names axis 3 of input 'image', which has the fixed size 3"),
        ([padding(("tokens", 1, 0), ("tokens", 1, 0))], "axis 1 of input 'tokens', which is padded already"),
        ([padding(("tokens", 1, 0)), padding(("words", 1, 0), mask="tokens")], "which is padded already; name it once"),
        ([padding(("tokens", 1, 128))], "input 'tokens' (INT8 [batch,any]) cannot be filled with 128"),
        ([padding(("tokens", 1, 0.5))], "cannot be filled with 0.5"),
        ([padding(("tokens", 1, math.nan))], "cannot be filled with nan"),
        ([padding(("image", 1, 1e6))], "input 'image' (FP16 [batch,any,any,3]) cannot be filled with 1e+06"),
        ([padding(("flags", 1, 2))], "cannot be filled with 2"),
        ([padding(("words", 1, 1))], "input 'words' (STRING [batch,any]) cannot be filled with 1"),
        ([padding(("image", 1, 0)), padding(("image", 2, 1))],
         "input 'image' is to be filled with 0 along one axis and with 1 along another; give one value"),
        ([padding(("tokens", 1, 0), mask="words")], "input 'words' (STRING [batch,any]) is no mask of numbers"),
        ([padding(("tokens", 1, 0), mask="image")], "is no mask of numbers or bools [batch,any]"),
        ([padding(("tokens", 1, 0), mask="other")], "a padding names input 'other'"),
        ([padding(("tokens", 1, 0), outputs=[("other", 1)])],
         "a padding names output 'other', but the model has 'tags', 'score'"),
        ([padding(("tokens", 1, 0), outputs=[("score", 1)])],
         "a padding names axis 1 of output 'score', which has the fixed size 1"),
        ([padding(("tokens", 1, 0), outputs=[("tags", 1)]), padding(("words", 1, 0), outputs=[("tags", 1)])],
         "a padding names axis 1 of output 'tags', which is padded already"),
    ],
)  # fmt: skip
def test_refused(paddings, message):
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        check_paddings(paddings, INPUTS, OUTPUTS)
    assert "\n" not in str(caught.value)


def test_in_a_signature():
    signature = Signature(schema_version=1, paddings=[padding(("tokens", 1, -1), mask="flags", outputs=[("tags", 1)])])
    assert signature_from_json(signature_to_json(signature)) == signature

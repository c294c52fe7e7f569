"""Small models that take all sorts of inputs: what is asked of the server under attack."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import onnx.parser
from onnx import helper

from headgate.v1 import (
    Activation,
    BinaryHead,
    Head,
    InputMeaning,
    MulticlassHead,
    PaddedInput,
    Padding,
    RegressionHead,
    Signature,
    TensorSpec,
    VocabularyInput,
)
from headgate.v1.signatures import METADATA_KEY, SCHEMA_VERSION, signature_to_json
from headgate.v1.tensors import data_type_of

#: Of which the bystander asks, and nobody else; the class with the largest of the first three features wins.
BYSTANDERS = "bystanders"
_CLASSES = (
    "g (float[batch,4] x) => (float[batch,3] logits) <float[4,3] w = {1,0,0, 0,1,0, 0,0,1, 0,0,0}>"
    "{ logits = MatMul(x, w) }"
)
LABELS = ("first", "second", "third")
_KIND = Signature(
    heads=[
        Head(
            name="kind",
            output="logits",
            activation=Activation.ACTIVATION_LOGITS,
            multiclass=MulticlassHead(labels=LABELS),
        )
    ]
)
#: Fails where a number is not in 0..3, as a model may.
LOOKUP = "lookup"
#: As onnx.parser reads them.
_GRAPHS = {
    BYSTANDERS: _CLASSES,
    "classes": _CLASSES,
    LOOKUP: "g (int64[batch,1] x) => (float[batch,1] y) <float[4] table = {0, 10, 20, 30}> { y = Gather(table, x) }",
    "pair": "g (float[batch,2] a, int32[batch,1] b) => (float[batch,3] y)"
    "{ c = Cast<to=1>(b) y = Concat<axis=1>(a, c) }",
    "halves": "g (float16[batch,3] x) => (float16[batch,3] y) { y = Identity(x) }",
    "bytes": "g (uint8[batch,3] x) => (uint8[batch,3] y) { y = Identity(x) }",
    "flags": "g (bool[batch,3] x) => (bool[batch,3] y) { y = Not(x) }",
    "unsigned": "g (uint64[batch] x) => (uint64[batch] y) { y = Identity(x) }",
    "text": "g (string[batch,1] x) => (string[batch,1] y) { y = Identity(x) }",
    "words": "g (string[batch,1] word) => (string[batch,1] same) { same = Identity(word) }",
    "lengths": "g (float[batch,n] x) => (float[batch] y) <int64[1] last = {1}>"
    "{ s = Sigmoid(x) t = Mul(s, x) y = ReduceSum<keepdims=0>(t, last) }",
    "padded": "g (int32[batch,n] tokens, float[batch,n] mask) => (float[batch] p) <int64[1] last = {1}>"
    "{ t = Cast<to=1>(tokens) m = Mul(t, mask) s = ReduceSum<keepdims=0>(m, last) p = Sigmoid(s) }",
    "images": "g (float[batch,64,64,3] pixels) => (float[batch] mean) <int64[3] all = {1,2,3}>"
    "{ mean = ReduceMean<keepdims=0>(pixels, all) }",
}
#: Rows of free sizes.
SHAPES = {"lengths": {"x": [7]}, "padded": {"tokens": [5], "mask": [5]}}
_SIGNATURES = {
    BYSTANDERS: _KIND,
    "classes": _KIND,
    LOOKUP: Signature(
        heads=[Head(name="entry", output="y", activation=Activation.ACTIVATION_LINEAR, regression=RegressionHead())]
    ),
    "pair": Signature(
        heads=[
            Head(name="parts", output="y", activation=Activation.ACTIVATION_LINEAR, regression=RegressionHead()),
            Head(name="again", output="y", activation=Activation.ACTIVATION_LINEAR, regression=RegressionHead()),
        ]
    ),
    "words": Signature(
        input_meanings=[
            InputMeaning(input="word", vocabulary=VocabularyInput(strings=["red", "green", "blue"], size=3))
        ]
    ),
    "lengths": Signature(
        heads=[Head(name="sum", output="y", activation=Activation.ACTIVATION_LINEAR, regression=RegressionHead())]
    ),
    "padded": Signature(
        heads=[
            Head(
                name="tone",
                output="p",
                activation=Activation.ACTIVATION_PROBABILITIES,
                binary=BinaryHead(labels=["bad", "good"], threshold=0.5),
            )
        ],
        paddings=[
            Padding(inputs=[PaddedInput(input="tokens", axis=1)], mask="mask"),
        ],
    ),
}
_THREADED = (LOOKUP, "images", "lengths")


def write_repository(folder: Path, models: Sequence[str] = tuple(_GRAPHS)) -> None:
    """Write models into a model repository, some of them to be run on threads of their own."""
    for name in models:
        model = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 18]> {_GRAPHS[name]}')
        inputs, outputs = map(_specs, (model.graph.input, model.graph.output))
        signature = Signature(schema_version=SCHEMA_VERSION, inputs=inputs, outputs=outputs)
        signature.MergeFrom(_SIGNATURES.get(name, Signature()))
        helper.set_model_props(model, {METADATA_KEY: signature_to_json(signature)})
        path = folder / name / "1" / "model.onnx"
        path.parent.mkdir(parents=True)
        onnx.save(model, path)
        mode = "threads" if name in _THREADED else "inline"
        path.parent.with_name("config.toml").write_text(f'[execution]\nmode = "{mode}"\nintra_op_threads = 1\n')


def _specs(values: Iterable[onnx.ValueInfoProto]) -> list[TensorSpec]:
    return [
        TensorSpec(
            name=value.name,
            datatype=data_type_of(helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)),
            shape=[dim.dim_value or -1 for dim in value.type.tensor_type.shape.dim],
        )
        for value in values
    ]

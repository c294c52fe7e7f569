"""Two models, made without Keras: one that costs next to nothing to run, and one that costs more than all the rest."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from headgate.v1 import Activation, DataType, Head, MulticlassHead, Signature, TensorSpec
from headgate.v1.signatures import METADATA_KEY, SCHEMA_VERSION, signature_to_json

INPUT = "features"
OUTPUT = "logits"
HEAD = "risk"
LABELS = ("low", "medium", "high")
#: The units of each layer, the input's and the output's included.
LAYERS = (10, 64, 64, len(LABELS))
#: One row of the CNN's input: channels, height, width.
IMAGE = (1, 16, 16)
#: The channels of its convolutions, which run on the whole image; a row takes 1 to 3 ms on one processor.
_CHANNELS = (IMAGE[0], 128, 128, 128, 128)
# The oldest onnxruntime that headgate supports reads them.
_OPSET, _IR_VERSION = 17, 8


def write_mlp(repository: Path, name: str = "mlp") -> Path:
    """Write version 1 of a 10-64-64-3 MLP with a multiclass head into a model repository; return the file."""
    nodes, initializers = [], []
    tensor = INPUT
    layers = _layers()
    for index, (weights, bias) in enumerate(layers):
        is_last = index == len(layers) - 1
        initializers += [numpy_helper.from_array(weights, f"w{index}"), numpy_helper.from_array(bias, f"b{index}")]
        dense = OUTPUT if is_last else f"dense{index}"
        nodes.append(helper.make_node("Gemm", [tensor, f"w{index}", f"b{index}"], [dense]))
        if not is_last:
            tensor = f"relu{index}"
            nodes.append(helper.make_node("Relu", [dense], [tensor]))
    return _write(repository, name, [LAYERS[0]], nodes, initializers)


def write_cnn(repository: Path, name: str = "cnn") -> Path:
    """Write version 1 of a CNN for 16x16 images with the MLP's names and head, 1 to 3 ms a row; return the file."""
    rng = np.random.default_rng(0)
    nodes, initializers = [], []
    tensor = INPUT
    for index, (channels, filters) in enumerate(pairwise(_CHANNELS)):
        weights = rng.normal(0, np.sqrt(2 / (9 * channels)), (filters, channels, 3, 3)).astype(np.float32)
        initializers.append(numpy_helper.from_array(weights, f"w{index}"))
        nodes.append(helper.make_node("Conv", [tensor, f"w{index}"], [f"conv{index}"], pads=[1, 1, 1, 1]))
        tensor = f"relu{index}"
        nodes.append(helper.make_node("Relu", [f"conv{index}"], [tensor]))
    weights = rng.normal(0, np.sqrt(1 / _CHANNELS[-1]), (_CHANNELS[-1], len(LABELS))).astype(np.float32)
    initializers.append(numpy_helper.from_array(weights, "w"))
    nodes += [
        helper.make_node("GlobalAveragePool", [tensor], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("MatMul", ["flat", "w"], [OUTPUT]),
    ]
    return _write(repository, name, IMAGE, nodes, initializers)


def mlp_logits(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Compute what the model answers: float32 [rows, 10] -> float32 [rows, 3]."""
    *hidden, (last_weights, last_bias) = _layers()
    for weights, bias in hidden:
        features = np.maximum(features @ weights + bias, 0)
    return features @ last_weights + last_bias


def _write(
    repository: Path,
    name: str,
    row: Sequence[int],
    nodes: Sequence[onnx.NodeProto],
    initializers: Sequence[onnx.TensorProto],
) -> Path:
    graph = helper.make_graph(
        nodes,
        name,
        [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["batch", *row])],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["batch", len(LABELS)])],
        initializers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR_VERSION)
    helper.set_model_props(model, {METADATA_KEY: signature_to_json(_signature(row))})
    path = repository / name / "1" / "model.onnx"
    path.parent.mkdir(parents=True)
    onnx.save(model, path)
    return path


def _layers() -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    rng = np.random.default_rng(0)

    def normal(*shape: int) -> NDArray[Any]:
        return rng.normal(0, np.sqrt(2 / shape[0]), shape).astype(np.float32)

    return [(normal(inputs, units), normal(units)) for inputs, units in pairwise(LAYERS)]


def _signature(row: Sequence[int]) -> Signature:
    fp32 = DataType.DATA_TYPE_FP32
    return Signature(
        schema_version=SCHEMA_VERSION,
        inputs=[TensorSpec(name=INPUT, datatype=fp32, shape=[-1, *row])],
        outputs=[TensorSpec(name=OUTPUT, datatype=fp32, shape=[-1, len(LABELS)])],
        heads=[
            Head(
                name=HEAD,
                output=OUTPUT,
                activation=Activation.ACTIVATION_LOGITS,
                multiclass=MulticlassHead(labels=LABELS),
            )
        ],
    )

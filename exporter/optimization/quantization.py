"""Weights and activations in 8 bits, by onnxruntime's quantisation tools.

What is quantised how: https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html
"""

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from headgate.exporter.memory import release_memory
from headgate.exporter.model_files import add_metadata, write_model
from headgate.exporter.optimization.offline import write_optimized
from headgate.exporter.tracing.traced_models import Arrays

#: Where the CPU multiplies 8-bit integers with activations whose ranges it finds anew for each batch.
_DYNAMIC_OPS = ["MatMul", "Gather", "LSTM"]
#: Where it has nothing to gain from that, and only the weights are stored in 8 bits.
_WEIGHTS_ONLY_OPS = ("Conv", "ConvTranspose")
#: Where it computes in 8 bits with ranges that are known; the others are what such operations need between them.
_STATIC_OPS = [
    *("Conv", "Gemm", "MatMul", "Gather", "Add", "AveragePool", "GlobalAveragePool", "Relu", "Clip"),
    *("MaxPool", "Concat", "Flatten", "Pad", "Reshape", "Squeeze", "Transpose", "Unsqueeze"),
]
#: Smaller weights stay as they are.
_LEAST_WEIGHTS = 256


def quantize_dynamic(source: Path, target: Path) -> None:
    """Write a model whose matrix products, embeddings and LSTMs compute in 8 bits, and that stores kernels in 8 bits.

    Args:
        source: an ONNX file of float32 weights.
        target: the file to write.
    """
    import onnx
    from onnxruntime import quantization

    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        prepared, quantized = Path(folder) / "prepared.onnx", Path(folder) / "quantized.onnx"
        _prepare(source, prepared)
        # CPUs without VNNI add up two products of 8 bits in 16, which 7-bit weights cannot overflow.
        quantization.quantize_dynamic(prepared, quantized, op_types_to_quantize=_DYNAMIC_OPS, reduce_range=True)
        model = onnx.load(quantized)
        for node in list(model.graph.node):
            if node.op_type in _WEIGHTS_ONLY_OPS:
                _store_in_8_bits(model.graph, node)
        write_model(model, target.parent)


def quantize_static(source: Path, target: Path, batches: Iterable[Arrays]) -> None:
    """Write a model that computes in 8 bits, with the ranges that its activations had on some batches.

    Args:
        source: an ONNX file of float32 weights.
        target: the file to write.
        batches: inputs by name.
    """
    from onnxruntime import quantization

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._batches = iter(batches)

        def get_next(self) -> Arrays | None:
            return next(self._batches, None)

    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        prepared = Path(folder) / "prepared.onnx"
        _prepare(source, prepared)
        quantization.quantize_static(
            prepared,
            target,
            Reader(),
            quant_format=quantization.QuantFormat.QDQ,
            op_types_to_quantize=_STATIC_OPS,
            per_channel=True,
            reduce_range=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
        )


def _prepare(source: Path, target: Path) -> None:
    """Fuse what onnxruntime would fuse when it loads a model: afterwards it could no longer.

    As its `quant_pre_process` does, which holds several copies of the weights meanwhile.
    """
    write_optimized(source, target, "basic")
    add_metadata(target, "onnx.quant.pre_process", "onnxruntime.quant")
    release_memory()


def _store_in_8_bits(graph: Any, node: Any) -> None:
    """Replace the kernel of a convolution by integers, one scale an output channel, and a DequantizeLinear node."""
    import onnx

    kernel = next((tensor for tensor in graph.initializer if tensor.name == node.input[1]), None)
    if kernel is None or kernel.data_type != onnx.TensorProto.FLOAT or np.prod(kernel.dims) < _LEAST_WEIGHTS:
        return
    # The kernel of a ConvTranspose is [inputs, outputs of a group, ...].
    axis = 1 if node.op_type == "ConvTranspose" else 0
    weights = onnx.numpy_helper.to_array(kernel)
    others = tuple(index for index in range(weights.ndim) if index != axis)
    scales = np.maximum(np.abs(weights).max(axis=others, keepdims=True) / 127, np.finfo(np.float32).tiny)
    integers = np.rint(weights / scales).astype(np.int8)
    name = node.input[1]
    node.input[1] = f"{name}_dequantized_{node.name}"
    graph.initializer.append(onnx.numpy_helper.from_array(integers, f"{node.input[1]}_integers"))
    graph.initializer.append(onnx.numpy_helper.from_array(scales.astype(np.float32).ravel(), f"{node.input[1]}_scales"))
    graph.initializer.append(onnx.numpy_helper.from_array(np.zeros(scales.size, np.int8), f"{node.input[1]}_zeros"))
    inputs = [f"{node.input[1]}_{part}" for part in ("integers", "scales", "zeros")]
    graph.node.insert(0, onnx.helper.make_node("DequantizeLinear", inputs, [node.input[1]], axis=axis))
    if all(name not in other.input for other in graph.node):
        graph.initializer.remove(kernel)

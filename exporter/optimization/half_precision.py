"""Models that compute in float16, with inputs and outputs as they were."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from headgate.exporter.errors import OptimizationError
from headgate.exporter.memory import release_memory
from headgate.exporter.model_files import write_model
from headgate.exporter.proof.sessions import open_session
from headgate.exporter.tracing.traced_models import Arrays

_LARGEST = float(np.finfo(np.float16).max)
_RANGE = "headgate_range_"


def to_float16(source: Path, target: Path, batches: Sequence[Arrays]) -> None:
    """Write a model whose weights are float16, and that computes in float16.

    Args:
        source: an ONNX file of float32 weights.
        target: the file to write.
        batches: inputs by name, to see how large the values within the model become. A CPU could not tell: it computes
            in float32 what it has no float16 operations for.

    Raises:
        OptimizationError: a value within the model is larger than float16 can hold.
    """
    from onnxruntime.transformers.float16 import convert_float_to_float16

    for name, largest in _largest_values(source, batches).items():
        # Not `>`: infinities and NaN do not fit either.
        if not largest <= _LARGEST:
            raise OptimizationError(
                f"with fp16=True the value of '{name}', which is up to {largest:.3g}, does not fit: float16 ends at "
                f"{_LARGEST:g}; scale it down in the model, or leave fp16 out"
            )
    write_model(convert_float_to_float16(str(source), keep_io_types=True), target.parent)


def _largest_values(path: Path, batches: Sequence[Arrays]) -> dict[str, float]:
    """Return the largest magnitude of each float32 tensor that a model computes in its main graph."""
    # Beside the model, where its weights may be.
    measuring = path.with_name("ranges.onnx")
    try:
        names = _write_measuring(path, measuring)
        release_memory()
        session = open_session(measuring, "disabled")
    finally:
        measuring.unlink(missing_ok=True)
    outputs = [f"{_RANGE}{index}" for index in range(len(names))]
    # Row by row, since nothing that is computed is fused or reused.
    rows = [
        {name: array[row : row + 1] for name, array in batch.items()}
        for batch in batches
        for row in range(len(next(iter(batch.values()))))
    ]
    ranges = np.array([session.run(outputs, row) for row in rows]) if names else np.zeros((1, 0))
    return dict(zip(names, ranges.max(axis=0).tolist(), strict=True))


def _write_measuring(path: Path, measuring: Path) -> list[str]:
    """Write a model that gives the largest magnitude of each tensor as well; return the names of these tensors."""
    import onnx

    onnx.shape_inference.infer_shapes_path(path, measuring)
    model = onnx.load(measuring, load_external_data=False)
    graph = model.graph
    values = {
        value.name for value in graph.value_info if value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    } & {name for node in graph.node for name in node.output}
    names = sorted(values)
    for index, name in enumerate(names):
        magnitude, largest = f"{_RANGE}{index}_magnitude", f"{_RANGE}{index}"
        graph.node.append(onnx.helper.make_node("Abs", [name], [magnitude]))
        graph.node.append(onnx.helper.make_node("ReduceMax", [magnitude], [largest], keepdims=0))
        graph.output.append(onnx.helper.make_tensor_value_info(largest, onnx.TensorProto.FLOAT, []))
    measuring.write_bytes(model.SerializeToString())
    return names

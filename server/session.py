"""One onnxruntime session on a device that is asserted, not assumed."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from headgate.server.errors import StartupError, first_line
from headgate.v1 import DataType, TensorSpec

_log = logging.getLogger(__name__)

_CPU = "CPUExecutionProvider"
_ALIASES = {"cpu": _CPU, "cuda": "CUDAExecutionProvider", "tensorrt": "TensorrtExecutionProvider"}
#: What to install where a provider is missing.
_REMEDIES = {
    "CUDAExecutionProvider": "pip uninstall onnxruntime; pip install 'headgate[gpu]', where there is an NVIDIA driver",
}
_DATA_TYPES = {
    "tensor(bool)": DataType.DATA_TYPE_BOOL,
    "tensor(uint8)": DataType.DATA_TYPE_UINT8,
    "tensor(uint16)": DataType.DATA_TYPE_UINT16,
    "tensor(uint32)": DataType.DATA_TYPE_UINT32,
    "tensor(uint64)": DataType.DATA_TYPE_UINT64,
    "tensor(int8)": DataType.DATA_TYPE_INT8,
    "tensor(int16)": DataType.DATA_TYPE_INT16,
    "tensor(int32)": DataType.DATA_TYPE_INT32,
    "tensor(int64)": DataType.DATA_TYPE_INT64,
    "tensor(float16)": DataType.DATA_TYPE_FP16,
    "tensor(float)": DataType.DATA_TYPE_FP32,
    "tensor(double)": DataType.DATA_TYPE_FP64,
    "tensor(string)": DataType.DATA_TYPE_STRING,
}


def resolve_provider(name: str, allow_cpu_fallback: bool = False) -> str:
    """Return the full name of an onnxruntime provider that is available: "cuda" gives "CUDAExecutionProvider".

    Raises:
        StartupError: onnxruntime does not have it, and falling back to the CPU was not allowed.
    """
    provider = _ALIASES.get(name.lower(), name)
    available = onnxruntime.get_available_providers()
    if provider in available:
        return provider
    short = sorted(alias for alias, full in _ALIASES.items() if full in available) or available
    remedy = f": {_REMEDIES[provider]}" if provider in _REMEDIES else ""
    message = f"provider '{name}' is not available in this onnxruntime (it has {', '.join(short)}){remedy}"
    if not allow_cpu_fallback:
        raise StartupError(message)
    _log.warning("%s; running on the CPU instead", message)
    return _CPU


class Session:
    """An ONNX model ready to run.

    Attributes:
        inputs, outputs: in the order of the graph.
        provider: the one that really runs it, as onnxruntime reports it.
        metadata: the file's `metadata_props`.
    """

    def __init__(self, path: Path, provider: str, intra_op_threads: int, allow_cpu_fallback: bool = False) -> None:
        """Load a model.

        Args:
            path: the ONNX file.
            provider: a full provider name, see `resolve_provider`.
            intra_op_threads: how many threads share the work of one run.
            allow_cpu_fallback: whether the CPU will do where the provider cannot be used.

        Raises:
            StartupError: the file cannot be loaded, the device cannot be used, or a tensor's type cannot be served.
        """
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.intra_op_num_threads = intra_op_threads
        options.inter_op_num_threads = 1
        # Threads that spin while they wait for work take processor time from the I/O thread.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        if provider == "CUDAExecutionProvider" and hasattr(onnxruntime, "preload_dlls"):
            onnxruntime.preload_dlls()
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=_providers(provider))
        except Exception as error:
            raise StartupError(f"{path} cannot be loaded by onnxruntime: {first_line(error)}") from error
        self.provider = self._session.get_providers()[0]
        if self.provider != provider and not allow_cpu_fallback:
            remedy = _REMEDIES.get(provider, "check that its libraries are installed")
            raise StartupError(
                f"{path} was to run on {provider}, but onnxruntime fell back to {self.provider} "
                f"since the provider's libraries or device cannot be used: {remedy}"
            )
        self.inputs = [_spec(node, path) for node in self._session.get_inputs()]
        self.outputs = [_spec(node, path) for node in self._session.get_outputs()]
        self.metadata: dict[str, str] = self._session.get_modelmeta().custom_metadata_map
        self._input_names = [spec.name for spec in self.inputs]
        self._output_names = [spec.name for spec in self.outputs]

    def run(self, inputs: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        """Run the model on one array for each input; return one array for each output. Releases the GIL."""
        feeds = dict(zip(self._input_names, inputs, strict=True))
        outputs: list[NDArray[Any]] = self._session.run(self._output_names, feeds)
        return outputs


def _providers(provider: str) -> list[Any]:
    if provider == "CUDAExecutionProvider":
        # The default, EXHAUSTIVE, searches for seconds whenever a batch size is new.
        return [(provider, {"cudnn_conv_algo_search": "HEURISTIC", "arena_extend_strategy": "kSameAsRequested"}), _CPU]
    return [provider] if provider == _CPU else [provider, _CPU]


def _spec(node: Any, path: Path) -> TensorSpec:
    data_type = _DATA_TYPES.get(node.type)
    if data_type is None:
        raise StartupError(f"{path}: '{node.name}' is a {node.type}, which headgate cannot serve")
    return TensorSpec(
        name=node.name, datatype=data_type, shape=[size if isinstance(size, int) else -1 for size in node.shape]
    )


def example_inputs(specs: Sequence[TensorSpec], rows: int) -> list[NDArray[Any]]:
    """Make inputs of zeros (empty strings) with `rows` rows, free dimensions of size 1: enough to warm a model up."""
    from headgate.v1.tensors import NUMPY_DTYPES

    arrays: list[NDArray[Any]] = []
    for spec in specs:
        shape = [rows, *(max(size, 1) for size in spec.shape[1:])]
        text = spec.datatype == DataType.DATA_TYPE_STRING
        arrays.append(np.full(shape, "", object) if text else np.zeros(shape, NUMPY_DTYPES[spec.datatype]))
    return arrays

"""onnxruntime sessions on a device that is asserted, not assumed."""

from __future__ import annotations

import logging
from bisect import bisect_left
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from headgate.server.binding import Binding, HostMemory, Memory, row_bytes, run_for_values, value_of
from headgate.server.config import ExecutionConfig
from headgate.server.cuda import CudaMemory
from headgate.server.errors import ServerError, StartupError, first_line
from headgate.server.external_data import check_external_data
from headgate.server.message_limit import fixed_row_bytes
from headgate.server.providers import (
    CPU,
    CUDA,
    DISABLE_CPU_FALLBACK,
    ON_CUDA,
    providers_with_options,
    remedy,
    short_name,
)
from headgate.v1 import DataType, TensorSpec
from headgate.v1.tensors import BFLOAT16, NUMPY_DTYPES

_log = logging.getLogger(__name__)

#: On the CPU a binding saves one to three of the ten microseconds of a tiny run, and costs a copy of inputs and
#: outputs: at about 64 KiB of both together it is even.
_BOUND_BYTES = 2**14
_OPTIMIZATION_LEVELS = {
    "disabled": onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL,
    "basic": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    "extended": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    "all": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL,
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
    "tensor(bfloat16)": DataType.DATA_TYPE_BF16,
}
_STRING, _BF16 = DataType.DATA_TYPE_STRING, DataType.DATA_TYPE_BF16


class Session:
    """An ONNX model ready to run.

    Attributes:
        inputs, outputs: in the order of the graph.
        provider: the one that really runs it, as onnxruntime reports it.
        metadata: the file's `metadata_props`.
        batch_sizes: the sizes that batches are filled up to; empty if they run as they are.
    """

    def __init__(
        self,
        path: Path,
        provider: str,
        intra_op_threads: int,
        allow_cpu_fallback: bool = False,
        execution: ExecutionConfig | None = None,
        max_batch_size: int = 1,
    ) -> None:
        """Load a model.

        Args:
            path: the ONNX file.
            provider: a full provider name, see `resolve_provider`.
            intra_op_threads: how many threads share the work of one run.
            allow_cpu_fallback: whether the CPU will do where the provider cannot be used.
            execution: how it is run.
            max_batch_size: the most rows of a run; more are run too, but at the cost of a size that is new.

        Raises:
            StartupError: the file cannot be loaded, the device cannot be used, or a tensor's type cannot be served.
        """
        execution = execution or ExecutionConfig()
        if execution.cuda_graphs and provider != CUDA:
            raise StartupError(f"{path}: execution.cuda_graphs is for the provider cuda, not {short_name(provider)}")
        check_external_data(path)
        first = _load(path, provider, intra_op_threads, allow_cpu_fallback, execution)
        self.provider: str = first.get_providers()[0]
        self.inputs = [_spec(node, path) for node in first.get_inputs()]
        self.outputs = [_spec(node, path) for node in first.get_outputs()]
        _check_bfloat16(self.inputs, self.outputs, path)
        self.metadata: dict[str, str] = first.get_modelmeta().custom_metadata_map
        on_cuda = self.provider in ON_CUDA
        sizes = execution.batch_sizes
        self.batch_sizes = tuple(sizes if sizes is not None else _powers_of_two(max_batch_size) if on_cuda else ())
        bound_rows = self._bound_rows(first, execution, max_batch_size, path)
        # On the CPU instances share a session. On a device a session is what has a stream of its own.
        others = [
            _load(path, provider, intra_op_threads, False, execution) if on_cuda else first
            for _ in range(1, execution.instances)
        ]
        try:
            device = CudaMemory(int(execution.provider_options.get("device_id", 0))) if on_cuda and bound_rows else None
            memory, graphs = device or HostMemory(), execution.cuda_graphs and on_cuda
            self._instances = [
                _Instance(session, memory, self.inputs, self.outputs, bound_rows, graphs)
                for session in (first, *others)
            ]
        except ServerError as error:
            raise StartupError(f"{path}: {error}") from error
        self._idle: SimpleQueue[_Instance] = SimpleQueue()
        for instance in self._instances:
            self._idle.put(instance)

    def run(self, inputs: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        """Run the model on one array for each input; return one array for each output. Releases the GIL.

        As many threads run at a time as there are instances, others wait. The outputs are the caller's to keep.
        """
        rows = len(inputs[0])
        if not rows:
            # Without rows onnxruntime's LSTM and GRU end the process.
            return [output[:0] for output in self.run([_blank_row(array) for array in inputs])]
        size = self._padded(rows) if self.batch_sizes else rows
        instance = self._idle.get()
        try:
            return instance.run(inputs, rows, size)
        finally:
            self._idle.put(instance)

    def close(self) -> None:
        """Free the model and its buffers; nothing may run then. What describes it stays."""
        self._instances.clear()
        self._idle = SimpleQueue()

    def warm_up(self, max_batch_size: int) -> None:
        """Run each batch size once in every instance; without batch sizes the smallest and the largest."""
        for rows in self.batch_sizes or (1, max_batch_size):
            inputs = example_inputs(self.inputs, rows)
            for instance in self._instances:
                instance.run(inputs, rows, rows)

    def _padded(self, rows: int) -> int:
        sizes = self.batch_sizes
        if rows > sizes[-1]:
            return rows
        return sizes[bisect_left(sizes, rows)]

    def _bound_rows(self, session: Any, execution: ExecutionConfig, max_batch_size: int, path: Path) -> int:
        """Return up to how many rows run in bound memory."""
        specs = [*self.inputs, *self.outputs]
        size = row_bytes(specs)
        refusal = ""
        if size is None or not _is_bindable([*session.get_inputs(), *session.get_outputs()]):
            refusal = "takes tensors whose sizes are fixed but for one batch dimension; not all of this model's are"
        elif self.provider != CPU and any(spec.datatype == _BF16 for spec in specs):
            refusal = "takes no bfloat16 on other devices than the CPU"
        if size is None or refusal:
            if execution.cuda_graphs or execution.io_binding:
                option = "cuda_graphs" if execution.cuda_graphs else "io_binding"
                raise StartupError(f"{path}: execution.{option} {refusal}")
            return 0
        if execution.io_binding is None and self.provider == CPU:
            return min(max_batch_size, _BOUND_BYTES // max(size, 1))
        if self.provider not in (CPU, *ON_CUDA) or execution.io_binding is False:
            return 0
        if self.provider == CPU:
            return max_batch_size
        # On a device each size takes memory of its own, so that only sizes that are known are bound.
        if execution.io_binding and not self.batch_sizes:
            raise StartupError(f"{path}: execution.io_binding needs batch_sizes on {short_name(self.provider)}")
        return max(self.batch_sizes, default=0)


class _Instance:
    """What runs one batch at a time."""

    def __init__(
        self,
        session: Any,
        memory: Memory,
        inputs: Sequence[TensorSpec],
        outputs: Sequence[TensorSpec],
        bound_rows: int,
        cuda_graphs: bool,
    ) -> None:
        self._session = session
        self._memory = memory
        self._input_names = [spec.name for spec in inputs]
        self._output_names = [spec.name for spec in outputs]
        self._passed_on = [index for index, spec in enumerate(outputs) if spec.name in self._input_names]
        self._takes_bfloat16 = any(spec.datatype == _BF16 for spec in inputs)
        self._gives_bfloat16 = any(spec.datatype == _BF16 for spec in outputs)
        self._bound_rows = bound_rows
        # onnxruntime keeps a CUDA graph for the thread that captured it: any other would capture one of its own.
        self._graph_thread = ThreadPoolExecutor(1, "headgate-cuda-graphs") if cuda_graphs else None
        self._options = None
        if cuda_graphs:
            # What is not bound must be no graph's.
            self._options = onnxruntime.RunOptions()
            self._options.add_run_config_entry("gpu_graph_id", "-1")
        self._bindings: dict[int, Binding] = {}
        if bound_rows:
            self._inputs = _buffers(memory, inputs, bound_rows)
            self._outputs = _buffers(memory, outputs, bound_rows)

    def run(self, inputs: Sequence[NDArray[Any]], rows: int, size: int) -> list[NDArray[Any]]:
        """Run `rows` rows, filled up to `size`."""
        binding = self._bindings.get(size)
        if binding is None and size <= self._bound_rows:
            binding = self._bindings[size] = self._bind(size)
        if binding is not None:
            if self._graph_thread is not None:
                return self._graph_thread.submit(binding.run, inputs, rows).result()
            return binding.run(inputs, rows)
        if rows < size:
            inputs = [np.concatenate([array, np.repeat(array[-1:], size - rows, axis=0)]) for array in inputs]
        outputs = self._run(dict(zip(self._input_names, inputs, strict=True)))
        return [output[:rows] for output in outputs] if rows < size else outputs

    def _run(self, inputs: dict[str, NDArray[Any]]) -> list[NDArray[Any]]:
        if self._gives_bfloat16:
            return run_for_values(self._session, inputs, self._output_names, self._options)
        feed: dict[str, Any] = inputs
        if self._takes_bfloat16:
            feed = {name: value_of(array) if array.dtype == BFLOAT16 else array for name, array in inputs.items()}
        outputs: list[NDArray[Any]] = self._session.run(self._output_names, feed, self._options)
        for index in self._passed_on:
            # Where an input is an output, onnxruntime 1.20 returns its memory, and does not keep it alive.
            outputs[index] = outputs[index].copy()
        return outputs

    def _bind(self, size: int) -> Binding:
        return Binding(
            self._session,
            self._memory,
            {name: buffer[:size] for name, buffer in self._inputs.items()},
            {name: buffer[:size] for name, buffer in self._outputs.items()},
            None if self._graph_thread is None else size,
        )


def example_inputs(specs: Sequence[TensorSpec], rows: int) -> list[NDArray[Any]]:
    """Make inputs of zeros (empty strings) with `rows` rows, free dimensions of size 1: enough to warm a model up."""
    arrays: list[NDArray[Any]] = []
    for spec in specs:
        shape = [rows, *(max(size, 1) for size in spec.shape[1:])]
        text = spec.datatype == _STRING
        arrays.append(np.full(shape, "", object) if text else np.zeros(shape, NUMPY_DTYPES[spec.datatype]))
    return arrays


def _blank_row(array: NDArray[Any]) -> NDArray[Any]:
    return np.full((1, *array.shape[1:]), "" if array.dtype == object else 0, array.dtype)


def _load(
    path: Path, provider: str, intra_op_threads: int, allow_cpu_fallback: bool, execution: ExecutionConfig
) -> Any:
    """Make an onnxruntime session, and see to it that it is on the provider, or on the CPU where that will do."""
    if provider in ON_CUDA and hasattr(onnxruntime, "preload_dlls"):
        onnxruntime.preload_dlls()
    try:
        # Without its own fallback, which prints, and which leaves the device in the middle of serving.
        session = onnxruntime.InferenceSession(
            str(path),
            _session_options(path, execution, intra_op_threads),
            providers=providers_with_options(provider, execution),
            enable_fallback=0,
        )
    except Exception as error:
        reason = first_line(error)
        # What comes before it are the names of functions and files in C++.
        message = f"{path} cannot be loaded by onnxruntime: {reason[max(reason.find('CUDA failure'), 0) :]}"
        if provider == CPU or not allow_cpu_fallback:
            raise StartupError(message) from error
        _log.warning("%s; running on the CPU instead", message)
        entries = {key: value for key, value in execution.session_options.items() if key != DISABLE_CPU_FALLBACK}
        on_cpu = execution.model_copy(update={"provider_options": {}, "session_options": entries})
        return _load(path, CPU, intra_op_threads, False, on_cpu)
    used = session.get_providers()[0]
    if used != provider and not allow_cpu_fallback:
        raise StartupError(
            f"{path} was to run on {provider}, but onnxruntime fell back to {used} "
            f"since the provider's libraries or device cannot be used: {remedy(provider)}"
        )
    return session


def _session_options(path: Path, execution: ExecutionConfig, intra_op_threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = intra_op_threads
    options.inter_op_num_threads = execution.inter_op_threads
    if execution.inter_op_threads > 1:
        options.execution_mode = onnxruntime.ExecutionMode.ORT_PARALLEL
    options.graph_optimization_level = _OPTIMIZATION_LEVELS[execution.graph_optimization_level]
    options.enable_cpu_mem_arena = execution.memory_arena
    pattern = execution.memory_pattern
    options.enable_mem_pattern = fixed_row_bytes(path) is not None if pattern is None else pattern
    spinning = "1" if execution.intra_op_spinning else "0"
    for key, value in {"session.intra_op.allow_spinning": spinning, **execution.session_options}.items():
        options.add_session_config_entry(key, value)
    return options


def _is_bindable(nodes: Sequence[Any]) -> bool:
    rows = {node.shape[0] for node in nodes}
    # An output whose first size has another name may have another number of rows. One that is an input itself is not
    # written to bound memory by every onnxruntime.
    return len(rows) == 1 and isinstance(rows.pop(), str) and len({node.name for node in nodes}) == len(nodes)


def _powers_of_two(most: int) -> list[int]:
    return [*(2**exponent for exponent in range((most - 1).bit_length())), most]


def _buffers(memory: Memory, specs: Sequence[TensorSpec], rows: int) -> dict[str, NDArray[Any]]:
    return {spec.name: memory.empty((rows, *spec.shape[1:]), NUMPY_DTYPES[spec.datatype]) for spec in specs}


def _check_bfloat16(inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], path: Path) -> None:
    text = next((spec.name for spec in inputs if spec.datatype == _STRING), None)
    narrow = next((spec.name for spec in outputs if spec.datatype == _BF16), None)
    if text is not None and narrow is not None:
        raise StartupError(
            f"{path}: input '{text}' is text and output '{narrow}' is bfloat16, which onnxruntime cannot run together "
            "from Python; have the model cast the output to float32"
        )


def _spec(node: Any, path: Path) -> TensorSpec:
    data_type = _DATA_TYPES.get(node.type)
    if data_type is None:
        raise StartupError(
            f"{path}: '{node.name}' is a {node.type}, which headgate cannot serve; have the model cast it from or to a "
            "float32, say"
        )
    return TensorSpec(
        name=node.name, datatype=data_type, shape=[size if isinstance(size, int) else -1 for size in node.shape]
    )

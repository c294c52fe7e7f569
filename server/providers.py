"""onnxruntime's execution providers: their names, and the options that they get."""

from __future__ import annotations

import logging
from typing import Any

import onnxruntime

from headgate.server.config import ExecutionConfig
from headgate.server.errors import StartupError

_log = logging.getLogger(__name__)

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"
TENSORRT = "TensorrtExecutionProvider"
#: Those whose tensors lie on a CUDA device.
ON_CUDA = (CUDA, TENSORRT)
#: The session entry by which a user asks that nothing at all runs on the CPU. It is not set here, however strict the
#: server is: onnxruntime puts the computation of shapes on the CPU by choice, since a device would be slower at it, and
#: with this entry it refuses a model for that. It refuses too if the CPU provider is listed.
DISABLE_CPU_FALLBACK = "session.disable_cpu_ep_fallback"
_GPU_PACKAGE = "pip uninstall onnxruntime; pip install 'headgate[gpu]', where there is an NVIDIA driver"
#: What to do where a provider cannot be used.
_REMEDIES = {CUDA: _GPU_PACKAGE, TENSORRT: f"{_GPU_PACKAGE} and TensorRT"}


def resolve_provider(name: str, allow_cpu_fallback: bool = False) -> str:
    """Return the full name of an onnxruntime provider that is available: "cuda" gives "CUDAExecutionProvider".

    Raises:
        StartupError: onnxruntime does not have it, and falling back to the CPU was not allowed.
    """
    known = {short_name(full): full for full in onnxruntime.get_all_providers()}
    provider: str = known.get(name.lower(), name)
    available = onnxruntime.get_available_providers()
    if provider in available:
        return provider
    has = ", ".join(sorted(map(short_name, available)))
    hint = f": {_REMEDIES[provider]}" if provider in _REMEDIES else ""
    message = f"provider '{name}' is not available in this onnxruntime (it has {has}){hint}"
    if not allow_cpu_fallback:
        raise StartupError(message)
    _log.warning("%s; running on the CPU instead", message)
    return CPU


def short_name(provider: str) -> str:
    """Return what users call a provider.

    >>> short_name("OpenVINOExecutionProvider")
    'openvino'
    """
    return provider.removesuffix("ExecutionProvider").lower()


def remedy(provider: str) -> str:
    """Return what to do where a provider is there but cannot be used."""
    return _REMEDIES.get(provider, "check that its libraries are installed")


def providers_with_options(provider: str, execution: ExecutionConfig) -> list[tuple[str, dict[str, Any]]]:
    """Return the providers of a session as onnxruntime takes them: what the first cannot run, the next one runs."""
    options = dict(execution.provider_options)
    chosen = [(provider, _cuda_options(execution) | options if provider == CUDA else options)]
    if provider == TENSORRT:
        device = {"device_id": options["device_id"]} if "device_id" in options else {}
        chosen.append((CUDA, _cuda_options(execution) | device))
    if provider != CPU and execution.session_options.get(DISABLE_CPU_FALLBACK) != "1":
        chosen.append((CPU, {}))
    return chosen


def _cuda_options(execution: ExecutionConfig) -> dict[str, Any]:
    options: dict[str, Any] = {
        # The default, EXHAUSTIVE, searches for seconds whenever a batch size is new.
        "cudnn_conv_algo_search": "HEURISTIC",
        # The default, kNextPowerOfTwo, takes up to twice of what is needed.
        "arena_extend_strategy": "kSameAsRequested",
    }
    if execution.gpu_mem_limit_mb is not None:
        options["gpu_mem_limit"] = execution.gpu_mem_limit_mb * 2**20
    if execution.cuda_graphs:
        options["enable_cuda_graph"] = True
    return options

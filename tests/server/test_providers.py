"""Execution providers: what they are called, what they get, and what is said where they are missing."""

import onnxruntime
import pytest

from headgate.server import ExecutionConfig, StartupError
from headgate.server.providers import providers_with_options, resolve_provider, short_name

CPU, CUDA, TENSORRT = "CPUExecutionProvider", "CUDAExecutionProvider", "TensorrtExecutionProvider"
AVAILABLE = onnxruntime.get_available_providers()
needs_no_cuda = pytest.mark.skipif(CUDA in AVAILABLE, reason="this onnxruntime has CUDA")


@pytest.mark.parametrize("provider", AVAILABLE)
def test_short_and_full_names(provider):
    short = short_name(provider)
    assert short == short.lower()
    assert resolve_provider(short) == resolve_provider(short.upper()) == resolve_provider(provider) == provider


def test_every_provider_has_a_short_name_of_its_own():
    providers = onnxruntime.get_all_providers()
    assert len({short_name(provider) for provider in providers}) == len(providers)
    assert {"cpu", "cuda", "tensorrt", "openvino", "coreml", "dml", "migraphx", "xnnpack"} <= set(
        map(short_name, providers)
    )


@needs_no_cuda
def test_provider_that_is_not_there(caplog):
    with pytest.raises(StartupError) as caught:
        resolve_provider("cuda")
    has = ", ".join(sorted(short_name(provider) for provider in AVAILABLE))
    assert str(caught.value) == (
        f"provider 'cuda' is not available in this onnxruntime (it has {has}): pip uninstall onnxruntime; "
        "pip install 'headgate[gpu]', where there is an NVIDIA driver"
    )
    assert resolve_provider("cuda", allow_cpu_fallback=True) == CPU
    assert "provider 'cuda' is not available" in caplog.text
    assert "running on the CPU instead" in caplog.text


def test_unknown_provider():
    with pytest.raises(StartupError, match=r"provider 'tpu' is not available in this onnxruntime \(it has .*cpu"):
        resolve_provider("tpu")


def test_options_of_cuda():
    execution = ExecutionConfig(gpu_mem_limit_mb=512, cuda_graphs=True, provider_options={"device_id": 1})
    assert providers_with_options(CUDA, execution) == [
        (
            CUDA,
            {
                "cudnn_conv_algo_search": "HEURISTIC",
                "arena_extend_strategy": "kSameAsRequested",
                "gpu_mem_limit": 512 * 1024 * 1024,
                "enable_cuda_graph": True,
                "device_id": 1,
            },
        ),
        (CPU, {}),
    ]


def test_options_given_go_before_our_own():
    execution = ExecutionConfig(provider_options={"cudnn_conv_algo_search": "EXHAUSTIVE"})
    ((_, options), _) = providers_with_options(CUDA, execution)
    assert options["cudnn_conv_algo_search"] == "EXHAUSTIVE"


def test_what_tensorrt_cannot_run_cuda_runs_on_the_same_device():
    execution = ExecutionConfig(provider_options={"trt_fp16_enable": True, "device_id": 1}, gpu_mem_limit_mb=1)
    tensorrt, (cuda, options), cpu = providers_with_options(TENSORRT, execution)
    assert tensorrt == (TENSORRT, {"trt_fp16_enable": True, "device_id": 1})
    assert (cuda, options["device_id"], options["gpu_mem_limit"]) == (CUDA, 1, 2**20)
    assert cpu == (CPU, {})


def test_the_cpu_runs_what_others_cannot_unless_that_is_refused():
    assert providers_with_options(CPU, ExecutionConfig()) == [(CPU, {})]
    names = [name for name, _ in providers_with_options("DmlExecutionProvider", ExecutionConfig())]
    assert names == ["DmlExecutionProvider", CPU]
    strict = ExecutionConfig(session_options={"session.disable_cpu_ep_fallback": "1"})
    assert [name for name, _ in providers_with_options("DmlExecutionProvider", strict)] == ["DmlExecutionProvider"]

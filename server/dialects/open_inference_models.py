"""Models as the Open Inference Protocol and Triton's extensions describe them: metadata, configuration, statistics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from headgate.foreign import open_inference as oip
from headgate.server.config import VersionsConfig
from headgate.server.dialects.open_inference_tensors import NAMES
from headgate.server.model import MODEL_FILE, LoadedModel
from headgate.server.statistics import BatchDurations, Duration
from headgate.v1 import TensorSpec
from headgate.v1.signatures import METADATA_KEY, signature_to_json
from headgate.v1.tensors import data_type_name


def describe_metadata(model: LoadedModel, versions: Sequence[int]) -> Any:
    """Make a ModelMetadataResponse, with all versions that are served; the signature travels in its properties."""
    response = oip.ModelMetadataResponse(
        name=model.name,
        versions=map(str, versions),
        platform="onnxruntime_onnx",
        inputs=[_tensor_metadata(spec) for spec in model.session.inputs],
        outputs=[_tensor_metadata(spec) for spec in model.session.outputs],
    )
    if model.signature.heads or model.signature.input_meanings:
        response.properties[METADATA_KEY] = signature_to_json(model.signature)
    return response


def _tensor_metadata(spec: TensorSpec) -> Any:
    return oip.ModelMetadataResponse.TensorMetadata(name=spec.name, datatype=NAMES[spec.datatype], shape=spec.shape)


def describe_config(model: LoadedModel, versions: VersionsConfig) -> Any:
    """Make a ModelConfig; `versions` are those that are served."""
    on_cpu = model.provider == "CPUExecutionProvider"
    batching = model.config.batching
    config = oip.ModelConfig(
        name=model.name,
        platform="onnxruntime_onnx",
        backend="onnxruntime",
        max_batch_size=batching.max_batch_size,
        default_model_filename=MODEL_FILE,
        input=[
            oip.ModelInput(
                name=spec.name,
                data_type=_config_type(spec),
                dims=spec.shape[1:],
                optional=index in model.inputs.padding.masks,
            )
            for index, spec in enumerate(model.session.inputs)
        ],
        output=[
            oip.ModelOutput(name=spec.name, data_type=_config_type(spec), dims=spec.shape[1:])
            for spec in model.session.outputs
        ],
    )
    if versions.all:
        config.version_policy.all.SetInParent()
    elif versions.specific:
        config.version_policy.specific.versions.extend(versions.specific)
    else:
        config.version_policy.latest.num_versions = versions.latest
    if model.batch_rows < batching.max_batch_size:
        config.dynamic_batching.preferred_batch_size.append(model.batch_rows)
    config.dynamic_batching.max_queue_delay_microseconds = batching.max_queue_delay_us
    policy = config.dynamic_batching.default_queue_policy
    policy.max_queue_size = batching.max_queue_size
    policy.default_timeout_microseconds = batching.queue_timeout_us
    policy.allow_timeout_override = True
    if batching.priority_levels > 1:
        config.dynamic_batching.priority_levels = batching.priority_levels
        config.dynamic_batching.default_priority_level = batching.priority(0)
    kind = oip.ModelInstanceGroup.Kind.Value("KIND_CPU" if on_cpu else "KIND_GPU")
    config.instance_group.add(name=model.name, kind=kind, count=model.config.execution.instances)
    return config


def _config_type(spec: TensorSpec) -> int:
    return int(oip.DataType.Value(f"TYPE_{data_type_name(spec.datatype)}"))


def describe_statistics(model: LoadedModel) -> Any:
    """Make a ModelStatistics.

    As in Triton requests that did not run have failed, too; they add no time.
    """
    counted = model.statistics
    with counted.lock:
        failures = counted.fail.count + counted.cancelled + counted.expired + counted.refused
        inference = {
            "success": _duration(counted.success),
            "fail": oip.StatisticDuration(count=failures, ns=counted.fail.ns),
            "queue": _duration(counted.queue),
        }
        return oip.ModelStatistics(
            name=model.name,
            version=str(model.version),
            last_inference=counted.last_inference_ms,
            inference_count=counted.inference_count,
            execution_count=counted.execution_count,
            inference_stats=oip.InferStatistics(**inference, **_stages(counted.stages)),
            batch_stats=[
                oip.InferBatchStatistics(batch_size=size, **_stages(counted.batches[size]))
                for size in sorted(counted.batches)
            ],
        )


def _stages(durations: BatchDurations) -> dict[str, Any]:
    return {
        "compute_input": _duration(durations.compute_input),
        "compute_infer": _duration(durations.compute_infer),
        "compute_output": _duration(durations.compute_output),
    }


def _duration(duration: Duration) -> Any:
    return oip.StatisticDuration(count=duration.count, ns=duration.ns)

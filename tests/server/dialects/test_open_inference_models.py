"""Models as the Open Inference Protocol describes them on a real server: versions, configuration, statistics."""

import grpc
import numpy as np
import pytest

from headgate.foreign import open_inference as oip
from headgate.v1 import PaddedInput, Padding, Signature
from headgate.v1.signatures import METADATA_KEY, signature_to_json

MASKED = (
    "g (float[batch,n] x, float[batch,n] m) => (float[batch] y) <int64[1] last = {1}> "
    "{ p = Mul(x, m) y = ReduceSum<keepdims=0>(p, last) }"
)


@pytest.fixture
def ask(connect):
    """Call a method of a server with the fields of its request: `ask(server, "ModelConfig", name="price")`."""

    def call(server, method_name, **fields):
        method = connect(server).channel.unary_unary(f"/inference.GRPCInferenceService/{method_name}")
        request = getattr(oip, f"{method_name}Request")(**fields)
        return getattr(oip, f"{method_name}Response").FromString(method(request.SerializeToString()))

    return call


@pytest.fixture
def versions(tmp_path, write_model, serve):
    """A server of versions 1, 2 and 4 of `price`, as its config.toml says."""

    def start(policy):
        for version in (1, 2, 4):
            write_model(tmp_path, "price", version=version, config=f"[versions]\n{policy}\n")
        return serve(tmp_path)

    return start


@pytest.mark.parametrize(
    ("policy", "served", "field", "described"),
    [
        ("latest = 2", ["2", "4"], "latest", oip.ModelVersionPolicy(latest={"num_versions": 2})),
        ("all = true", ["1", "2", "4"], "all", oip.ModelVersionPolicy(all={})),
        ("specific = [1, 4]", ["1", "4"], "specific", oip.ModelVersionPolicy(specific={"versions": [1, 4]})),
    ],
)
def test_versions(versions, ask, policy, served, field, described):
    server = versions(policy)
    for version in ("", *served):
        metadata = ask(server, "ModelMetadata", name="price", version=version)
        assert list(metadata.versions) == served
        config = ask(server, "ModelConfig", name="price", version=version).config
        assert config.version_policy == described
        assert config.version_policy.WhichOneof("policy_choice") == field
    assert [each.version for each in ask(server, "ModelStatistics", name="price").model_stats] == served
    assert [each.version for each in ask(server, "ModelStatistics").model_stats] == served
    assert [each.version for each in ask(server, "ModelStatistics", name="price", version="4").model_stats] == ["4"]


def test_versions_that_are_served_change_without_loading(tmp_path, write_model, serve, ask):
    write_model(tmp_path, "price")
    server = serve(tmp_path, model_control="poll", poll_interval_s=3600)
    (tmp_path / "price" / "config.toml").write_text("[versions]\nall = true\n")
    before = server.repository.model("price")
    server.control._follow_folder()
    assert server.repository.model("price") is before
    policy = ask(server, "ModelConfig", name="price").config.version_policy
    assert policy.WhichOneof("policy_choice") == "all"


def test_each_version_answers_for_itself(versions, connect, infer_request):
    calls = connect(versions("all = true"))
    for asked_for, answered in [("1", "1"), ("2", "2"), ("", "4")]:
        request = infer_request("price", x=np.ones((1, 2), np.float32))
        request.model_version = asked_for
        for _ in range(3):
            assert calls.infer(request).model_version == answered
    counts = {each.version: each.inference_count for each in calls.statistics(oip.ModelStatisticsRequest()).model_stats}
    assert counts == {"1": 3, "2": 3, "4": 3}


def test_masks_may_be_left_out(tmp_path, write_model, serve, ask, connect, infer_request):
    signature = Signature(schema_version=1, paddings=[Padding(inputs=[PaddedInput(input="x", axis=1)], mask="m")])
    write_model(tmp_path, "masked", MASKED, [], metadata={METADATA_KEY: signature_to_json(signature)})
    server = serve(tmp_path)
    config = ask(server, "ModelConfig", name="masked").config
    assert [(each.name, each.optional) for each in config.input] == [("x", False), ("m", True)]
    answer = connect(server).infer(infer_request("masked", x=np.ones((1, 3), np.float32)))
    assert answer.raw_output_contents[0] == np.float32(3).tobytes()


def test_schedule_policy(tmp_path, write_model, serve, ask):
    batching = (
        "[batching]\nmax_batch_size = 8\nmax_queue_size = 3\nmax_queue_delay_us = 7\nqueue_timeout_us = 9\n"
        "priority_levels = 4\n"
    )
    write_model(tmp_path, "price", config=batching)
    config = ask(serve(tmp_path), "ModelConfig", name="price").config
    assert config.max_batch_size == 8
    assert config.dynamic_batching == oip.ModelDynamicBatching(
        max_queue_delay_microseconds=7,
        priority_levels=4,
        default_priority_level=3,
        default_queue_policy={
            "max_queue_size": 3, "default_timeout_microseconds": 9, "allow_timeout_override": True
        },
    )  # fmt: skip


def test_requests_that_did_not_run_have_failed(tmp_path, write_model, serve, connect, infer_request):
    """So do Triton's statistics count them."""
    write_model(tmp_path, "busy", config='[batching]\nmax_queue_size = 2\n[execution]\nmode = "threads"\n')
    calls = connect(serve(tmp_path))
    futures = [calls.infer.future(infer_request("busy", steps=np.array([[2000]]))) for _ in range(20)]
    codes = [future.code() for future in futures]
    refused = codes.count(grpc.StatusCode.RESOURCE_EXHAUSTED)
    assert refused
    (statistics,) = calls.statistics(oip.ModelStatisticsRequest(name="busy")).model_stats
    assert statistics.inference_stats.fail == oip.StatisticDuration(count=refused)
    assert statistics.inference_stats.success.count == 20 - refused
    # What onnxruntime takes is not known.
    assert not statistics.memory_usage

"""MLServer's messages, converters and codecs over gRPC, and its batch command over HTTP."""

import asyncio
import importlib.metadata
import json
import sys
import tempfile
from pathlib import Path

import grpc
from checks import check, client, equal, refused
from mlserver.batch_processing import process_batch
from mlserver.codecs import NumpyCodec, StringCodec
from mlserver.grpc import dataplane_pb2 as messages
from mlserver.grpc.converters import (
    ModelInferRequestConverter,
    ModelInferResponseConverter,
    ModelMetadataResponseConverter,
    ServerMetadataResponseConverter,
)
from mlserver.grpc.dataplane_pb2_grpc import GRPCInferenceServiceStub
from mlserver.grpc.model_repository_pb2 import RepositoryIndexRequest
from mlserver.grpc.model_repository_pb2_grpc import ModelRepositoryServiceStub
from mlserver.types import InferenceRequest, RequestInput, RequestOutput
from plan import read_plan

CALL, TYPED, ERRORS = "ModelInfer", "ModelInfer, typed contents", "ModelInfer, errors"


def main(plan_path, protocol):
    client("mlserver", importlib.metadata.version("mlserver"))
    plan = read_plan(plan_path)
    if protocol == "http":
        check_batches(plan)
        return
    with grpc.insecure_channel(plan.grpc, [("grpc.max_receive_message_length", -1)]) as channel:
        stub = GRPCInferenceServiceStub(channel)
        check_models(stub, plan)
        check_tensors(stub, plan)
        check_stream(stub, plan)
        with check("inference.model_repository.ModelRepositoryService"):
            ModelRepositoryServiceStub(channel).RepositoryIndex(RepositoryIndexRequest())


def check_models(stub, plan):
    with check("ServerLive"):
        equal(stub.ServerLive(messages.ServerLiveRequest()).live, True)
    with check("ServerReady"):
        equal(stub.ServerReady(messages.ServerReadyRequest()).ready, True)
    with check("ModelReady"):
        equal(stub.ModelReady(messages.ModelReadyRequest(name="fruit")).ready, True)
    with check("ModelReady", "an unknown model"):
        equal(stub.ModelReady(messages.ModelReadyRequest(name="nothing")).ready, False)
    with check("ServerMetadata"):
        answer = stub.ServerMetadata(messages.ServerMetadataRequest())
        equal(ServerMetadataResponseConverter.to_types(answer).name, "headgate")
    with check("ModelMetadata"):
        answer = ModelMetadataResponseConverter.to_types(stub.ModelMetadata(messages.ModelMetadataRequest(name="sums")))
        described = [(tensor.name, tensor.datatype, tensor.shape) for tensor in answer.inputs]
        equal(described, [("a", "FP32", [-1, 2]), ("b", "INT32", [-1, 1])])
    with check("ModelMetadata", "of a model with heads"):
        equal(stub.ModelMetadata(messages.ModelMetadataRequest(name="fruit")).name, "fruit")
    with check("RepositoryIndex"):
        models = stub.RepositoryIndex(messages.RepositoryIndexRequest()).models
        assert ("sums", "1", "READY") in [(model.name, model.version, model.state) for model in models]
    with check("RepositoryModelUnload"):
        stub.RepositoryModelUnload(messages.RepositoryModelUnloadRequest(model_name="spare"))
        equal(stub.ModelReady(messages.ModelReadyRequest(name="spare")).ready, False)
    with check("RepositoryModelLoad"):
        stub.RepositoryModelLoad(messages.RepositoryModelLoadRequest(model_name="spare"))
        _assert_answers(stub, plan.cases["spare"])


def check_tensors(stub, plan):
    for name, case in plan.cases.items():
        # The client knows no BF16, and numbers that are not finite become None.
        if case.model.startswith("identity_") and name != "BF16" and not name.endswith("not finite"):
            with check(CALL, name):
                _assert_answers(stub, case, use_raw=True)
            if case.is_json:
                with check(TYPED, name):
                    _assert_answers(stub, case)
    case = plan.cases["two inputs, two outputs"]
    with check(TYPED, "two inputs, two outputs"):
        _assert_answers(stub, case)
    with check(CALL, "two inputs, two outputs"):
        _assert_answers(stub, case, use_raw=True)
    with check(CALL, "requested outputs"):
        request = _request(case, outputs=[RequestOutput(name="total")])
        equal([output.name for output in _infer(stub, case, request).outputs], ["total"])
    with check(CALL, "request id, model and version in the answer"):
        answer = _infer(stub, case, _request(case, id="r-7"))
        equal((answer.id, answer.model_name, answer.model_version), ("r-7", "sums", "1"))
    with check(ERRORS, "an unknown model"), refused("NOT_FOUND", "nothing"):
        stub.ModelInfer(messages.ModelInferRequest(model_name="nothing"))


def check_stream(stub, plan):
    case = plan.cases["two inputs, two outputs"]
    with check("ModelStreamInfer"):
        requests = [ModelInferRequestConverter.from_types(_request(case), case.model) for _ in range(3)]
        for answer in stub.ModelStreamInfer(iter(requests)):
            _assert_equal(ModelInferResponseConverter.to_types(answer), case)


def check_batches(plan):
    """What `mlserver infer` does: requests from a file, some at a time put together, answers to a file."""
    case = plan.cases["two inputs, two outputs"]
    for binary in (True, False):
        with check("mlserver infer", "binary data" if binary else "JSON"), tempfile.TemporaryDirectory() as folder:
            questions, answers = Path(folder, "questions.jsonl"), Path(folder, "answers.jsonl")
            questions.write_text("".join(_request(case, id=f"{i}").model_dump_json() + "\n" for i in range(10)))
            asyncio.run(_process(case.model, plan.http, questions, answers, binary))
            lines = [json.loads(line) for line in answers.read_text().splitlines()]
            equal(sorted(line["parameters"]["batch_index"] for line in lines), list(range(10)))
            for line in lines:
                for output in line["outputs"]:
                    expected = case.outputs[output["name"]]
                    equal((output["shape"], output["data"]), (expected.shape, expected.array.ravel().tolist()))


async def _process(model, address, questions, answers, binary):
    await process_batch(
        model_name=model, url=address, workers=2, retries=1, batch_size=4, input_data_path=str(questions),
        output_data_path=str(answers), binary_data=binary, transport="rest", request_headers=[], timeout=60,
        batch_interval=0, batch_jitter=0, use_ssl=False, insecure=False, verbose=False, extra_verbose=False,
    )  # fmt: skip


def _request(case, **fields):
    return InferenceRequest(inputs=[_input(name, tensor) for name, tensor in case.inputs.items()], **fields)


def _input(name, tensor):
    if tensor.datatype == "BYTES":
        elements = tensor.array.ravel().tolist()
        return RequestInput(name=name, datatype="BYTES", shape=tensor.shape, data=elements)
    return NumpyCodec.encode_input(name, tensor.array)


def _infer(stub, case, request, use_raw=False):
    message = ModelInferRequestConverter.from_types(request, case.model, use_raw=use_raw)
    return ModelInferResponseConverter.to_types(stub.ModelInfer(message))


def _assert_answers(stub, case, use_raw=False):
    _assert_equal(_infer(stub, case, _request(case), use_raw), case)


def _assert_equal(answer, case):
    outputs = {output.name: output for output in answer.outputs}
    for name, tensor in case.outputs.items():
        output = outputs[name]
        if tensor.datatype == "BYTES":
            equal(list(output.shape), tensor.shape)
            equal([text.encode() for text in StringCodec.decode_output(output)], tensor.array.ravel().tolist())
        else:
            tensor.assert_equal(NumpyCodec.decode_output(output))


if __name__ == "__main__":
    main(*sys.argv[1:])

"""tritonclient's single requests."""

import asyncio
import concurrent.futures
import queue
import urllib.request

import grpc
import numpy as np
from checks import check, equal, refused
from plan import Tensor
from tritonclient.utils import InferenceServerException

WAIT_S = 60
CALL = "ModelInfer"
TYPED, JSON = f"{CALL}, typed contents", f"{CALL}, JSON"
PARAMETERS, CLASSIFICATION, ERRORS = f"{CALL}, parameters", f"{CALL}, classification", f"{CALL}, errors"
#: FP16 and BF16 can only be raw.
TYPED_FIELDS = {
    "BOOL": "bool_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}


def check_all(api):
    check_tensors(api)
    check_requests(api)
    check_parameters(api)
    check_classification(api)
    check_errors(api)
    check_waiting(api)
    if api.is_http:
        check_json(api)
    elif not api.is_asyncio:
        check_typed(api)


def check_tensors(api):
    for name, case in api.plan.cases.items():
        if case.model.startswith("identity_"):
            with check(CALL, name):
                result = api.infer_case(case)
                api.assert_answers(result, case)
                equal(api.response(result)["outputs"]["y"]["datatype"], case.outputs["y"].datatype)
    with check(CALL, "free sizes"):
        for columns in (1, 5, 2):
            tensor = Tensor("FP32", np.ones((2, columns), np.float32))
            tensor.assert_equal(api.infer("identity_FP32", [api.input("x", tensor)]).as_numpy("y"))


def check_requests(api):
    case = api.plan.cases["two inputs, two outputs"]
    with check(CALL, "two inputs, two outputs"):
        api.assert_answers(api.infer(case.model, api.inputs(case)[::-1]), case)
    with check(CALL, "requested outputs"):
        for names in (["total"], ["total", "joined"]):
            result = api.infer_case(case, outputs=api.outputs(names))
            equal(list(api.response(result)["outputs"]), names)
            for name in names:
                case.outputs[name].assert_equal(result.as_numpy(name))
    with check(CALL, "request id, model and version in the answer"):
        response = api.response(api.infer_case(case, request_id="r-7"))
        equal((response["id"], response["model_name"], response["model_version"]), ("r-7", "sums", "1"))
    with check(CALL, "a version"):
        for version in "12":
            fruit = api.plan.cases[f"fruit {version}"]
            result = api.infer_case(fruit, model_version=version)
            api.assert_answers(result, fruit)
            equal(api.response(result)["model_version"], version)
    with check(CALL, "the latest version"):
        api.assert_answers(api.infer_case(api.plan.cases["fruit 2"]), api.plan.cases["fruit 2"])
    with check(CALL, "text and numbers"):
        api.assert_answers(api.infer_case(api.plan.cases["churn"]), api.plan.cases["churn"])
    for algorithm in ("gzip", "deflate"):
        with check(CALL, f"{algorithm}, the request"):
            key = "request_compression_algorithm" if api.is_http else "compression_algorithm"
            api.assert_answers(api.infer_case(case, **{key: algorithm}), case)
        if api.is_http:
            with check(CALL, f"{algorithm}, the answer"):
                api.assert_answers(api.infer_case(case, response_compression_algorithm=algorithm), case)
    with check(CALL, "headers"):
        api.assert_answers(api.infer_case(case, headers={"x-tenant": "a", "authorization": "Bearer b"}), case)
    with check(CALL, "64 at the same time"):
        for result in _infer_many(api, case, 64):
            api.assert_answers(result, case)


def check_parameters(api):
    case = api.plan.cases["two inputs, two outputs"]
    with check(PARAMETERS, "priority"):
        api.assert_answers(api.infer_case(case, priority=1), case)
    with check(PARAMETERS, "timeout"):
        api.assert_answers(api.infer_case(case, timeout=30_000_000), case)
    with check(PARAMETERS, "timeout that expires in the queue"), concurrent.futures.ThreadPoolExecutor(1) as thread:
        busy = api.plan.cases["busy"]
        running = thread.submit(api.infer_apart, busy)
        expire_behind(api, running)
        api.assert_answers(running.result(), busy)
    with check(PARAMETERS, "sequences"):
        api.infer_case(case, sequence_id=7, sequence_start=True, sequence_end=True)
    with check(PARAMETERS, "own: text, numbers, booleans"):
        api.assert_answers(api.infer_case(case, parameters={"a": "text", "b": 7, "c": True}), case)
    with check(PARAMETERS, "own: fractions"):
        api.assert_answers(api.infer_case(case, parameters={"d": 0.5}), case)


def check_classification(api):
    case = api.plan.cases["fruit 2"]
    with check(CLASSIFICATION, "1, 2, 3 and 9 of 3 labels"):
        for count in (1, 2, 3, 9):
            result = api.infer_case(case, outputs=api.outputs(["logits"], class_count=count))
            _assert_classes(result.as_numpy("logits"), case.scores["logits"], count)
    with check(CLASSIFICATION, "two labels"):
        tumor = api.plan.cases["tumor"]
        result = api.infer_case(tumor, outputs=api.outputs(["p"], class_count=2))
        _assert_classes(result.as_numpy("p"), tumor.scores["p"], 2)
    with check(CLASSIFICATION, "of an output without labels, beside another output"):
        sums = api.plan.cases["two inputs, two outputs"]
        outputs = [*api.outputs(["joined"], class_count=2), *api.outputs(["total"])]
        result = api.infer_case(sums, outputs=outputs)
        sums.outputs["total"].assert_equal(result.as_numpy("total"))
        numbers = [[["", value] for value in row] for row in sums.outputs["joined"].array.tolist()]
        _assert_classes(result.as_numpy("joined"), numbers, 2)


def check_errors(api):
    case = api.plan.cases["two inputs, two outputs"]
    a, b = api.inputs(case)
    wrong = Tensor("FP32", np.ones((1, 7), np.float32))
    floats, fewer = Tensor("FP32", np.ones((2, 1), np.float32)), Tensor("INT32", np.ones((1, 1), np.int32))
    for name, model, inputs, options, words in (
        ("a wrong shape", "price", [api.input("rooms", wrong)], {}, ["'rooms'", "[1,7]"]),
        ("a wrong data type", "sums", [a, api.input("b", floats)], {}, ["'b'", "FP32"]),
        ("a missing input", "sums", [a], {}, ["'b'"]),
        ("an unknown input", "sums", [a, b, api.input("c", wrong)], {}, ["'c'"]),
        ("an unknown output", "sums", [a, b], {"outputs": api.outputs(["nothing"])}, ["'nothing'"]),
        ("an unknown model", "nothing", [a, b], {}, ["'nothing'"]),
        ("an unknown version", "sums", [a, b], {"model_version": "9"}, ["version 9"]),
        ("inputs of different rows", "sums", [a, api.input("b", fewer)], {}, ["'b'", "rows"]),
    ):  # fmt: skip
        with check(ERRORS, name), refused(*words, exception=InferenceServerException):
            api.infer(model, inputs, **options)
    with check(CALL, "good requests after bad ones"):
        api.assert_answers(api.infer_case(case), case)


def check_waiting(api):
    busy, short = api.plan.cases["busy"], api.plan.cases["short"]
    if not api.is_http:
        with check(CALL, "client timeout"):
            with refused("Deadline"):
                api.infer_case(busy, client_timeout=0.01)
            api.assert_answers(api.infer_case(short), short)
        with check(CALL, "cancelled"):
            _cancel(api, busy)
            api.assert_answers(api.infer_case(short), short)


def check_json(api):
    """Tensors that travel in the JSON of a request or an answer."""
    for name, case in api.plan.cases.items():
        if case.model.startswith("identity_") and case.is_json:
            with check(JSON, name):
                result = api.infer(
                    case.model, api.inputs(case, binary_data=False), outputs=api.outputs(["y"], binary_data=False)
                )
                api.assert_answers(result, case)
    case = api.plan.cases["two inputs, two outputs"]
    with check(JSON, "beside binary data in one request"):
        (name_a, a), (name_b, b) = case.inputs.items()
        inputs = [api.input(name_a, a, binary_data=False), api.input(name_b, b)]
        outputs = [*api.outputs(["joined"], binary_data=False), *api.outputs(["total"], binary_data=True)]
        api.assert_answers(api.infer(case.model, inputs, outputs=outputs), case)
    with check(CALL, "request and answer made and read apart from the client"):
        body, json_size = api.module.InferenceServerClient.generate_request_body(api.inputs(case))
        headers = {"Inference-Header-Content-Length": str(json_size)}
        request = urllib.request.Request(f"http://{api.address}/v2/models/{case.model}/infer", body, headers)
        with urllib.request.urlopen(request) as answer:
            length = int(answer.headers["Inference-Header-Content-Length"])
            result = api.module.InferenceServerClient.parse_response_body(answer.read(), header_length=length)
        api.assert_answers(result, case)


def check_typed(api):
    """Typed contents, as clients send them that are made from the .proto files, with the messages of tritonclient."""
    messages, stubs = api.module.service_pb2, api.module.service_pb2_grpc
    with grpc.insecure_channel(api.address, [("grpc.max_receive_message_length", -1)]) as channel:
        stub = stubs.GRPCInferenceServiceStub(channel)
        for name, case in api.plan.cases.items():
            if case.model.startswith("identity_") and case.inputs["x"].datatype in TYPED_FIELDS:
                with check(TYPED, name):
                    answer = stub.ModelInfer(_typed_request(messages, case))
                    case.outputs["y"].assert_equal(api.module.InferResult(answer).as_numpy("y"))
        case = api.plan.cases["two inputs, two outputs"]
        with check(ERRORS, "typed and raw contents in one request"):
            request = _typed_request(messages, case)
            request.raw_input_contents.append(case.inputs["b"].raw())
            with refused("INVALID_ARGUMENT", "raw_input_contents", exception=grpc.RpcError):
                stub.ModelInfer(request)
        with check(ERRORS, "typed contents of another type"):
            request = _typed_request(messages, case)
            request.inputs[0].contents.ClearField("fp32_contents")
            request.inputs[0].contents.int_contents.extend([1, 2, 3, 4])
            with refused("INVALID_ARGUMENT", "int_contents", exception=grpc.RpcError):
                stub.ModelInfer(request)


def _typed_request(messages, case):
    request = messages.ModelInferRequest(model_name=case.model, model_version=case.version)
    for name, tensor in case.inputs.items():
        added = request.inputs.add(name=name, datatype=tensor.datatype, shape=tensor.shape)
        getattr(added.contents, TYPED_FIELDS[tensor.datatype]).extend(tensor.array.ravel().tolist())
    return request


def expire_behind(api, running):
    """Ask with a timeout, of far more than an idle server takes, until a request expires behind one that runs."""
    short = api.plan.cases["short"]
    with refused("timeout", exception=InferenceServerException):
        while not running.done():
            api.infer_case(short, timeout=50_000)


def _infer_many(api, case, count):
    if api.is_asyncio:

        async def gather():
            return await asyncio.gather(*[api.client.infer(case.model, api.inputs(case)) for _ in range(count)])

        return api.run(gather())
    if api.is_http:
        requests = [api.client.async_infer(case.model, api.inputs(case)) for _ in range(count)]
        return [request.get_result() for request in requests]
    answers = queue.SimpleQueue()
    for _ in range(count):
        api.client.async_infer(case.model, api.inputs(case), lambda result, error: answers.put((result, error)))
    results = [answers.get(timeout=WAIT_S) for _ in range(count)]
    equal([error for _, error in results if error], [])
    return [result for result, _ in results]


def _assert_classes(classes, label_scores, count):
    """Expect the `count` best of each row as "value:index:label", the best first."""
    count = min(count, len(label_scores[0]))
    equal(list(classes.shape), [len(label_scores), count], "shape")
    for row, scores in zip(classes, label_scores, strict=True):
        best = sorted(range(len(scores)), key=lambda index: -scores[index][1])[:count]
        for element, index in zip(row, best, strict=True):
            value, *rest = element.decode().split(":")
            label, score = scores[index]
            equal(rest, [str(index), label] if label else [str(index)])
            np.testing.assert_allclose(float(value), score, atol=1e-5)


def _cancel(api, case):
    if api.is_asyncio:

        async def cancel():
            task = asyncio.ensure_future(api.client.infer(case.model, api.inputs(case)))
            await asyncio.wait([task], timeout=0.05)
            task.cancel()
            await asyncio.wait([task])
            equal(task.cancelled(), True)

        api.run(cancel())
        return
    answers = queue.SimpleQueue()
    call = api.client.async_infer(case.model, api.inputs(case), lambda result, error: answers.put((result, error)))
    call.cancel()
    result, error = answers.get(timeout=WAIT_S)
    equal(result, None)
    equal(error.status(), "StatusCode.CANCELLED")

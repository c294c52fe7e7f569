"""tritonclient's streams, over gRPC."""

import queue

import grpc
import numpy as np
from checks import check, equal
from plan import Tensor
from tritonclient.utils import InferenceServerException

CALL = "ModelStreamInfer"
WAIT_S = 60


def check_all(api):
    case = api.plan.cases["two inputs, two outputs"]
    with check(CALL, "answers in order"):
        check_order(api)
    with check(CALL, "models of different speed, answers in order"):
        requests = [
            {"model_name": name, "inputs": api.inputs(api.plan.cases[key]), "request_id": key}
            for name, key in [("busy", "busy"), ("sums", "two inputs, two outputs"), ("tumor", "tumor")]
        ]
        results = [result for result, _ in _ask(api, requests)]
        equal([api.response(result)["id"] for result in results], ["busy", "two inputs, two outputs", "tumor"])
        for result, request in zip(results, requests, strict=True):
            api.assert_answers(result, api.plan.cases[request["request_id"]])
    with check(CALL, "an error in band, the stream goes on"):
        bad = {"model_name": "price", "inputs": [api.input("rooms", Tensor("FP32", np.ones((1, 7), np.float32)))]}
        (first, _), (nothing, error), (last, _) = _ask(api, [_numbered(api, 1), bad, _numbered(api, 2)])
        equal(nothing, None)
        assert "rooms" in str(error), error
        equal([result.as_numpy("y").tolist() for result in (first, last)], [[[110]], [[220]]])
    with check(CALL, "triton_grpc_error: the first error ends the stream with its status"):
        answers = _ask(api, [_numbered(api, 1), bad, _numbered(api, 2)], headers={"triton_grpc_error": "true"})
        equal(answers[0][0].as_numpy("y").tolist(), [[110]])
        equal(len(answers), 2)
        equal(answers[1][1].status(), "StatusCode.INVALID_ARGUMENT")
    with check(CALL, "requested outputs, classification, request parameters"):
        request = {
            "model_name": "fruit", "inputs": api.inputs(api.plan.cases["fruit 2"]), "model_version": "2",
            "outputs": api.outputs(["logits"], class_count=1), "priority": 1, "timeout": 30_000_000,
            "parameters": {"tenant": "a"},
        }  # fmt: skip
        [(result, error)] = _ask(api, [request])
        equal(error, None)
        best = [
            max(row, key=lambda label_score: label_score[1])[0] for row in api.plan.cases["fruit 2"].scores["logits"]
        ]
        equal([row[0].decode().split(":")[2] for row in result.as_numpy("logits")], best)
    for algorithm in ("gzip", "deflate"):
        with check(CALL, f"{algorithm}, the requests"):
            request = {"model_name": case.model, "inputs": api.inputs(case)}
            for result, _ in _ask(api, [request] * 3, compression_algorithm=algorithm):
                api.assert_answers(result, case)
    with check(CALL, "an empty final response is asked for"):
        [(result, error)] = _ask(api, [_numbered(api, 3) | {"enable_empty_final_response": True}])
        equal(error, None)
        equal(result.as_numpy("y").tolist(), [[330]])
    with check(CALL, "cancelled with requests under way"):
        _cancel(api)
        api.assert_answers(api.infer_case(case), case)


def check_order(api):
    answers = _ask(api, [_numbered(api, number) for number in range(100)])
    equal(len(answers), 100)
    for number, (result, error) in enumerate(answers):
        equal(error, None)
        equal(api.response(result)["id"], f"{number}")
        equal(result.as_numpy("y").tolist(), [[110 * number]])


def _numbered(api, number):
    rooms = Tensor("FP32", np.full((1, 2), number, np.float32))
    return {"model_name": "price", "inputs": [api.input("rooms", rooms)], "request_id": f"{number}"}


def _ask(api, requests, **options):
    """Send requests on a stream and half-close it; return the (result, error) of each answer."""
    if api.is_asyncio:
        return api.run(_ask_asyncio(api, requests, options))
    answers = queue.SimpleQueue()
    api.client.start_stream(lambda result, error: answers.put((result, error)), **options)
    try:
        for request in requests:
            api.client.async_stream_infer(**request)
    finally:
        # Waits for the answers to all that was sent.
        api.client.stop_stream()
    return [answers.get() for _ in range(answers.qsize())]


async def _ask_asyncio(api, requests, options):
    async def send():
        for request in requests:
            yield request

    answers = []
    try:
        async for answer in api.client.stream_infer(send(), **options):
            answers.append(answer)
    except grpc.RpcError as error:
        answers.append((None, InferenceServerException(error.details(), str(error.code()))))
    return answers


def _cancel(api):
    busy = {"model_name": "busy", "inputs": api.inputs(api.plan.cases["busy"])}
    if api.is_asyncio:

        async def cancel():
            async def send():
                yield _numbered(api, 1)
                yield busy

            answers = api.client.stream_infer(send())
            result, _ = await anext(aiter(answers))
            equal(result.as_numpy("y").tolist(), [[110]])
            answers.cancel()

        api.run(cancel())
        return
    answers = queue.SimpleQueue()
    api.client.start_stream(lambda result, error: answers.put((result, error)))
    api.client.async_stream_infer(**_numbered(api, 1))
    result, _ = answers.get(timeout=WAIT_S)
    equal(result.as_numpy("y").tolist(), [[110]])
    api.client.async_stream_infer(**busy)
    api.client.stop_stream(cancel_requests=True)
    _, error = answers.get(timeout=WAIT_S)
    equal(error.status(), "StatusCode.CANCELLED")

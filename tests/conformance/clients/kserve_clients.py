"""KServe's inference clients, for gRPC and for REST (protocol v2)."""

import asyncio
import importlib.metadata
import logging
import sys

import grpc
import httpx
from checks import check, client, equal, refused
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest
from kserve.inference_client import RESTConfig
from kserve.protocol.infer_type import RequestedOutput
from plan import read_plan

CALL, ERRORS = "ModelInfer", "ModelInfer, errors"


class Connection:
    """Either client, called alike."""

    def __init__(self, plan, protocol):
        self.is_http = protocol == "http"
        self.typed = f"{CALL}, {'JSON' if self.is_http else 'typed contents'}"
        self.base = [f"http://{plan.http}"] if self.is_http else []
        if self.is_http:
            self.client = InferenceRESTClient(RESTConfig(protocol="v2"))
        else:
            self.client = InferenceGRPCClient(plan.grpc)

    async def call(self, name, *args, **kwargs):
        return await getattr(self.client, name)(*self.base, *args, **kwargs)

    async def infer(self, request):
        # The REST client takes the model's name from here, the other from the request.
        options = {"model_name": request.model_name} if self.is_http else {}
        return await self.call("infer", request, **options)

    async def assert_answers(self, case, binary):
        answer = await self.infer(_request(case, binary))
        outputs = {output.name: output for output in answer.outputs}
        for name, tensor in case.outputs.items():
            tensor.assert_equal(outputs[name].as_numpy())


async def main(plan_path, protocol):
    client("kserve", importlib.metadata.version("kserve"))
    # It logs the errors that it raises.
    logging.disable()
    plan = read_plan(plan_path)
    connection = Connection(plan, protocol)
    await check_models(connection)
    await check_tensors(connection, plan)
    await connection.client.close()


async def check_models(connection):
    with check("ServerLive"):
        equal(await connection.call("is_server_live"), True)
    with check("ServerReady"):
        equal(await connection.call("is_server_ready"), True)
    with check("ModelReady"):
        equal(await connection.call("is_model_ready", "fruit"), True)
    with check("ModelReady", "an unknown model"):
        equal(await connection.call("is_model_ready", "nothing"), False)


async def check_tensors(connection, plan):
    for name, case in plan.cases.items():
        # The client knows no BF16.
        if case.model.startswith("identity_") and name != "BF16":
            with check(CALL, name):
                await connection.assert_answers(case, binary=True)
            if case.is_json:
                with check(connection.typed, name):
                    await connection.assert_answers(case, binary=False)
    case = plan.cases["two inputs, two outputs"]
    for binary, call in ((True, CALL), (False, connection.typed)):
        with check(call, "two inputs, two outputs"):
            await connection.assert_answers(case, binary)
    with check(CALL, "requested outputs"):
        answer = await connection.infer(_request(case, True, request_outputs=[RequestedOutput("total")]))
        equal([output.name for output in answer.outputs], ["total"])
        case.outputs["total"].assert_equal(answer.outputs[0].as_numpy())
    with check(CALL, "request id, model and version in the answer"):
        answer = await connection.infer(_request(case, True, request_id="r-7"))
        # The REST client does not read the version.
        version = None if connection.is_http else "1"
        equal((answer.id, answer.model_name, answer.model_version), ("r-7", "sums", version))
    with check("ModelInfer, parameters", "own: text, numbers, booleans"):
        await connection.infer(_request(case, True, parameters={"a": "text", "b": 7, "c": True}))
    for name, request, code in (
        ("an unknown model", _request(plan.cases["spare"], True, model="nothing"), "NOT_FOUND"),
        ("a missing input", InferRequest("sums", [_input("a", case.inputs["a"], True)]), "INVALID_ARGUMENT"),
    ):
        status = {"NOT_FOUND": "404", "INVALID_ARGUMENT": "400"}[code]
        with (
            check(ERRORS, name),
            refused(status if connection.is_http else code, exception=(grpc.RpcError, httpx.HTTPStatusError)),
        ):
            await connection.infer(request)


def _request(case, binary, model=None, **options):
    if binary and "parameters" not in options:
        # Over REST the answer is binary only where the request asks for that.
        options["parameters"] = {"binary_data_output": True}
    inputs = [_input(name, tensor, binary) for name, tensor in case.inputs.items()]
    return InferRequest(model or case.model, inputs, **options)


def _input(name, tensor, binary):
    infer_input = InferInput(name, tensor.shape, tensor.datatype)
    infer_input.set_data_from_numpy(tensor.array, binary_data=binary)
    return infer_input


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))

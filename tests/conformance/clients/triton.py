"""tritonclient: `triton.py <plan> <grpc|http> [asyncio]`, in an environment that has it."""

import asyncio
import importlib
import importlib.metadata
import inspect
import ssl
import sys

import triton_inference
import triton_memory
import triton_models
import triton_streams
from checks import check, client, equal
from plan import read_plan

try:
    import ml_dtypes
except ImportError:
    ml_dtypes = None


class Api:
    """One of the four clients, called alike: methods of those for asyncio run to their end."""

    def __init__(self, plan, protocol, is_asyncio):
        self.plan = plan
        self.is_http = protocol == "http"
        self.is_asyncio = is_asyncio
        self.address = plan.http if self.is_http else plan.grpc
        self.module = importlib.import_module(f"tritonclient.{protocol}")
        self.loop = asyncio.new_event_loop()
        if is_asyncio:
            self._clients = importlib.import_module(f"tritonclient.{protocol}.aio")
            self.client = self.run(self._connect())
        else:
            # Without, the HTTP client has one connection and makes concurrent requests wait for each other.
            options = {"concurrency": 8} if self.is_http else {}
            self.client = self.module.InferenceServerClient(self.address, **options, **self._tls_options())

    async def _connect(self):
        return self._clients.InferenceServerClient(self.address, **self._tls_options())

    def _tls_options(self):
        authority = self.plan.authority
        if not authority:
            return {}
        if not self.is_http:
            return {"ssl": True, "root_certificates": authority}
        if self.is_asyncio:
            return {"ssl": True, "ssl_context": ssl.create_default_context(cafile=authority)}
        return {"ssl": True, "ssl_options": {"ca_certs": authority}}

    def run(self, awaitable):
        return self.loop.run_until_complete(awaitable)

    def __getattr__(self, name):
        method = getattr(self.client, name)

        def call(*args, **kwargs):
            result = method(*args, **kwargs)
            return self.run(result) if inspect.isawaitable(result) else result

        return call

    def json(self, name, *args, **kwargs):
        """Call a method whose answer is a dict over HTTP and a message over gRPC, which is made a dict too."""
        if not self.is_http:
            kwargs["as_json"] = True
        return getattr(self, name)(*args, **kwargs)

    def input(self, name, tensor, **options):
        infer_input = self.module.InferInput(name, tensor.shape, tensor.datatype)
        array = tensor.array
        # Newer clients take arrays of that type only, older ones float32.
        if tensor.datatype == "BF16" and ml_dtypes is not None:
            array = array.astype(ml_dtypes.bfloat16)
        infer_input.set_data_from_numpy(array, **options)
        return infer_input

    def inputs(self, case, **options):
        return [self.input(name, tensor, **options) for name, tensor in case.inputs.items()]

    def outputs(self, names, **options):
        return [self.module.InferRequestedOutput(name, **options) for name in names]

    def infer_case(self, case, **options):
        return self.infer(case.model, self.inputs(case), **options)

    def infer_apart(self, case, inputs=None, **options):
        """Ask over a connection of its own, from a thread other than this client's."""
        api = Api(self.plan, "http" if self.is_http else "grpc", self.is_asyncio)
        try:
            return api.infer(case.model, inputs or api.inputs(case), **options)
        finally:
            api.close()

    def assert_answers(self, result, case):
        for name, tensor in case.outputs.items():
            tensor.assert_equal(result.as_numpy(name))

    def response(self, result):
        response = result.get_response() if self.is_http else result.get_response(as_json=True)
        return {key: response.get(key, "") for key in ("model_name", "model_version", "id")} | {
            "outputs": {output["name"]: output for output in response["outputs"]}
        }

    def close(self):
        result = self.client.close()
        if inspect.isawaitable(result):
            self.run(result)


def check_main(api):
    case = api.plan.cases["two inputs, two outputs"]
    with check("ServerReady"):
        equal(api.is_server_ready(), True)
    with check("ModelMetadata"):
        equal(api.json("get_model_metadata", case.model)["name"], case.model)
    with check("ModelInfer"):
        api.assert_answers(api.infer_case(case), case)
    if not api.is_http:
        with check("ModelStreamInfer"):
            triton_streams.check_order(api)


def main(plan_path, protocol, style="blocking"):
    client("tritonclient", importlib.metadata.version("tritonclient"))
    api = Api(read_plan(plan_path), protocol, style == "asyncio")
    try:
        if api.plan.only_main:
            check_main(api)
            return
        triton_models.check_all(api)
        triton_inference.check_all(api)
        triton_memory.check_all(api)
        if not api.is_http:
            triton_streams.check_all(api)
    finally:
        api.close()


if __name__ == "__main__":
    main(*sys.argv[1:])

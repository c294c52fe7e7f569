"""MLServer with a runtime for ONNX models: `server.py MODEL PORT`, in MLServer's environment.

MLServer batches on request only. Inference runs in the server's own process (`parallel_workers=0`): it has one
processor, and a pool of workers would only add a hop. Access logs (`debug`) and metrics are off.
"""

from __future__ import annotations

import sys

import onnxruntime
import uvloop
from mlserver import MLModel, MLServer, ModelSettings, Settings
from mlserver.codecs import NumpyCodec
from mlserver.settings import ModelParameters
from mlserver.types import InferenceRequest, InferenceResponse


class OnnxModel(MLModel):
    async def load(self) -> bool:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        path = self.settings.parameters.uri
        self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        inputs = {tensor.name: NumpyCodec.decode_input(tensor) for tensor in payload.inputs}
        (logits,) = self._session.run(["logits"], inputs)
        return InferenceResponse(model_name=self.name, outputs=[NumpyCodec.encode_output("logits", logits)])


async def main() -> None:
    model, port = sys.argv[1:]
    settings = Settings(
        host="127.0.0.1",
        # A free one: nothing is asked over HTTP.
        http_port=0,
        grpc_port=int(port),
        parallel_workers=0,
        debug=False,
        metrics_endpoint=None,
    )
    model_settings = ModelSettings(
        name="model",
        implementation=OnnxModel,
        parameters=ModelParameters(uri=model),
        max_batch_size=64,
        # How long it waits for a batch to fill up, in seconds; without a wait it does not batch.
        max_batch_time=0.001,
    )
    await MLServer(settings).start([model_settings])


uvloop.run(main())

"""Ray Serve with one replica: `server.py MODEL PORT PROTO`, in Ray's environment.

Ray Serve takes any gRPC service: here that of the Open Inference Protocol, compiled from PROTO, so that the messages
are those of the other servers. `RAY_SERVE_THROUGHPUT_OPTIMIZED` is what its documentation recommends for throughput;
with it the replica listens on a port of its own, PORT, and clients need not go through Serve's proxy, which answers
several times fewer requests. Access logs and the dashboard are off.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from pathlib import Path

from grpc_tools import protoc

path, port, proto = sys.argv[1:]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


generated = os.getcwd()
http_port = free_port()
# Read by the processes that Ray starts.
os.environ |= {
    "PYTHONPATH": generated,
    "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
    "RAY_SERVE_DIRECT_INGRESS_MIN_GRPC_PORT": port,
    "RAY_SERVE_DIRECT_INGRESS_MAX_GRPC_PORT": str(int(port) + 1),
    "RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT": str(http_port),
    "RAY_SERVE_DIRECT_INGRESS_MAX_HTTP_PORT": str(http_port + 1),
}
protoc.main(["", f"-I{Path(proto).parent}", f"--python_out={generated}", f"--grpc_python_out={generated}", proto])
sys.path.insert(0, generated)

import numpy as np  # noqa: E402
import onnxruntime  # noqa: E402
import open_inference_pb2 as oip  # noqa: E402
import ray  # noqa: E402
from ray import serve  # noqa: E402
from ray.serve.config import HTTPOptions, gRPCOptions  # noqa: E402


@serve.deployment(max_ongoing_requests=256)
class Model:
    def __init__(self) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        (features,) = self._session.get_inputs()
        self._name, self._shape = features.name, features.shape[1:]

    async def ModelInfer(self, request: oip.ModelInferRequest) -> oip.ModelInferResponse:
        logits = await self.infer(request.raw_input_contents[0])
        response = oip.ModelInferResponse(model_name=request.model_name, raw_output_contents=[logits.tobytes()])
        response.outputs.add(name="logits", datatype="FP32", shape=[1, len(logits)])
        return response

    @serve.batch(max_batch_size=64, batch_wait_timeout_s=0.001)
    async def infer(self, rows: list[bytes]) -> list[np.ndarray]:
        features = np.frombuffer(b"".join(rows), np.float32).reshape(-1, *self._shape)
        return list(self._session.run(["logits"], {self._name: features})[0])


ray.init(include_dashboard=False, num_cpus=2, _temp_dir=os.getcwd())
serve.start(
    proxy_location="HeadOnly",
    http_options=HTTPOptions(port=free_port()),
    grpc_options=gRPCOptions(
        port=free_port(),
        grpc_servicer_functions=["open_inference_pb2_grpc.add_GRPCInferenceServiceServicer_to_server"],
    ),
    logging_config={"enable_access_log": False},
)
serve.run(Model.bind())
signal.pause()

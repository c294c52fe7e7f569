"""LitServe, an HTTP server on FastAPI: `server.py MODEL PORT`, in LitServe's environment.

Requests and answers are JSON, the only thing that LitServe takes without a specification of its own. One worker and
one API server, for one processor.
"""

from __future__ import annotations

import sys

import litserve
import numpy as np
import onnxruntime

BATCH_TIMEOUT_S = 0.001


class OnnxApi(litserve.LitAPI):
    def __init__(self, path: str, **options: object) -> None:
        super().__init__(**options)
        self._path = path

    def setup(self, device: str) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(self._path, options, providers=["CPUExecutionProvider"])
        (self._features,) = self._session.get_inputs()

    def decode_request(self, request: dict[str, list]) -> list:
        return request["features"]

    def batch(self, inputs: list[list]) -> np.ndarray:
        return np.asarray(inputs, np.float32).reshape(-1, *self._features.shape[1:])

    def predict(self, x: np.ndarray) -> np.ndarray:
        return self._session.run(["logits"], {self._features.name: x})[0]

    def unbatch(self, output: np.ndarray) -> list[list[float]]:
        return output.tolist()

    def encode_response(self, output: list[float]) -> dict[str, list[float]]:
        return {"logits": output}


if __name__ == "__main__":
    path, port = sys.argv[1:]
    api = OnnxApi(path, max_batch_size=64, batch_timeout=BATCH_TIMEOUT_S)
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=1, fast_queue=True)
    server.run(host="127.0.0.1", port=int(port), num_api_servers=1, generate_client_file=False, log_level="warning")

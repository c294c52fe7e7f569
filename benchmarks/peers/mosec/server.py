"""Mosec, an HTTP server in Rust with Python workers: `server.py MODEL PORT`, in Mosec's environment.

A request's body holds the raw elements, and so does the answer's: the least there is to parse. One worker, for one
processor. The wait for a batch to fill up is the shortest that Mosec has.
"""

from __future__ import annotations

import os
import sys

import numpy as np
import onnxruntime
from mosec import Server, Worker

MAX_WAIT_MS = 1


class OnnxWorker(Worker):
    def __init__(self) -> None:
        super().__init__()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            os.environ["PEER_MODEL"], options, providers=["CPUExecutionProvider"]
        )
        (features,) = self._session.get_inputs()
        self._name, self._shape = features.name, features.shape[1:]

    def deserialize(self, data: bytes) -> bytes:
        return data

    def serialize(self, data: bytes) -> bytes:
        return data

    def forward(self, data: list[bytes]) -> list[bytes]:
        features = np.frombuffer(b"".join(data), np.float32).reshape(-1, *self._shape)
        (logits,) = self._session.run(["logits"], {self._name: features})
        return [row.tobytes() for row in logits]


if __name__ == "__main__":
    # The workers are processes that import this file again; what follows is Mosec's own command line.
    path, port = sys.argv[1:]
    os.environ["PEER_MODEL"] = path
    os.environ |= {"MOSEC_ADDRESS": "127.0.0.1", "MOSEC_PORT": port, "MOSEC_LOG_LEVEL": "warning"}
    server = Server()
    server.append_worker(OnnxWorker, max_batch_size=64, max_wait_time=MAX_WAIT_MS)
    server.run()

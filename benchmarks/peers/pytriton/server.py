"""NVIDIA PyTriton, a Triton server that calls a Python function: `server.py MODEL PORT`, in PyTriton's environment.

Triton's own batcher, in C++, puts the batches together and waits for none to fill up, as is its default. No access
token is asked for, as by no other server here. HTTP and metrics are off.
"""

from __future__ import annotations

import sys

import numpy as np
import onnxruntime
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig, TritonSecurityConfig

path, port = sys.argv[1:]
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = options.inter_op_num_threads = 1
session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
(features,) = session.get_inputs()


@batch
def infer(**inputs: np.ndarray) -> list[np.ndarray]:
    return session.run(["logits"], inputs)


config = TritonConfig(
    grpc_address="127.0.0.1", grpc_port=int(port), http_address="127.0.0.1", allow_http=False, allow_metrics=False
)
security = TritonSecurityConfig(restricted_endpoints=[])
with Triton(config=config, security_config=security, workspace="workspace") as triton:
    triton.bind(
        model_name="model",
        infer_func=infer,
        inputs=[Tensor(name=features.name, dtype=np.float32, shape=tuple(features.shape[1:]))],
        outputs=[Tensor(name="logits", dtype=np.float32, shape=(3,))],
        config=ModelConfig(max_batch_size=64, batcher=DynamicBatcher()),
    )
    triton.serve()

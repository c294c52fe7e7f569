"""The headgate server: a model repository behind gRPC, with dynamic batching on onnxruntime.

`serve(settings)` runs one until SIGTERM or SIGINT; `Server` is the same as an object.
"""

from headgate.server.config import BatchingConfig, ExecutionConfig, ModelConfig, ServerSettings
from headgate.server.errors import ServerError, StartupError
from headgate.server.server import Server, serve

__all__ = [
    "BatchingConfig",
    "ExecutionConfig",
    "ModelConfig",
    "Server",
    "ServerError",
    "ServerSettings",
    "StartupError",
    "serve",
]

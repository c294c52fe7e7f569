"""The headgate server: a model repository behind gRPC, with dynamic batching on onnxruntime.

`serve(settings)` runs one until SIGTERM or SIGINT; `Server` is the same as an object.
"""

from typing import TYPE_CHECKING

from headgate.server.config import BatchingConfig, ExecutionConfig, ModelConfig, ServerSettings
from headgate.server.errors import ServerError, StartupError
from headgate.server.process import serve

if TYPE_CHECKING:
    from headgate.server.server import Server

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


def __getattr__(name: str) -> object:
    # Late: the supervisor of several workers has no need of onnxruntime.
    if name == "Server":
        from headgate.server import server

        return server.Server
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")

"""Settings: what the server is started with, and what a model's `config.toml` may say."""

from __future__ import annotations

import math
import tomllib
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from headgate.server.errors import StartupError
from headgate.server.transport import TransportName
from headgate.server.transport.options import Compression

CONFIG_FILE = "config.toml"
ExecutionMode = Literal["auto", "inline", "threads"]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class BatchingConfig(_Section):
    """`[batching]`: how requests are put together."""

    #: The most rows that are run at once. A single larger request runs alone.
    max_batch_size: int = Field(default=64, ge=1)
    #: The most requests that may wait; beyond it they are refused with RESOURCE_EXHAUSTED.
    max_queue_size: int = Field(default=1024, ge=1)
    #: How long a batch that is not full may wait for more rows, in microseconds. 0: run at once.
    max_queue_delay_us: int = Field(default=0, ge=0)


class ExecutionConfig(_Section):
    """`[execution]`: how batches are run."""

    #: "inline": on the I/O thread; "threads": on threads of their own; "auto": inline where a full batch takes well
    #: under a millisecond.
    mode: ExecutionMode = "auto"
    #: Batches that may run at the same time (threads only).
    instances: int = Field(default=1, ge=1)
    #: onnxruntime's threads for one batch. 0: 1 inline, else the processors that this process may use, divided among
    #: the instances.
    intra_op_threads: int = Field(default=0, ge=0)


class ModelConfig(_Section):
    """All of a `config.toml`."""

    batching: BatchingConfig = BatchingConfig()
    execution: ExecutionConfig = ExecutionConfig()


def read_model_config(path: Path, defaults: ModelConfig) -> ModelConfig:
    """Read a model's config.toml; what it does not say, and a file that is not there, means the defaults.

    Raises:
        StartupError: the file is no TOML, or has unknown or wrong entries; the message names them.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return defaults
    except OSError as error:
        raise StartupError(f"{path}: {error.strerror}") from error
    try:
        given = tomllib.loads(content.decode())
        merged = defaults.model_dump()
        for section, entries in given.items():
            if isinstance(entries, dict):
                merged[section] = merged.get(section, {}) | entries
            else:
                merged[section] = entries
        return ModelConfig.model_validate(merged)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise StartupError(f"{path} is no valid TOML: {error}") from error
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise StartupError(f"{path}: {problems}") from error


class ServerSettings(_Section):
    """What a server is started with."""

    repository: Path
    #: A name, an IP address, or "unix:/path" for a Unix socket, which has no port.
    host: str = "127.0.0.1"
    port: int = Field(default=8001, ge=0, le=65535)
    #: An onnxruntime provider: "cpu", "cuda", or a full name such as "OpenVINOExecutionProvider".
    provider: str = "cpu"
    #: Run on the CPU, with a warning, where the provider cannot be had.
    allow_cpu_fallback: bool = False
    #: What models without a word in their config.toml get.
    model_defaults: ModelConfig = ModelConfig()
    #: How long accepted requests may take to finish after SIGTERM.
    drain_timeout_s: float = Field(default=30.0, ge=0)
    max_message_bytes: int = Field(default=64 * 1024 * 1024, ge=1024)
    #: PEM files: the server's certificate and key (TLS), and the roots of its clients' certificates (mutual TLS).
    tls_cert: Path | None = None
    tls_key: Path | None = None
    tls_client_ca: Path | None = None
    #: "auto": grpcio's completion queue, or its public API where that does not work.
    transport: TransportName = "auto"
    #: See `TransportOptions`.
    max_connection_age_s: float = Field(default=1800.0, gt=0)
    max_connection_age_grace_s: float = Field(default=math.inf, ge=0)
    compression: Compression = "none"

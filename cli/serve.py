"""`headgate serve`: serve all models of a repository."""

from __future__ import annotations

import logging
import math
import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

#: Read by grpc's C++ core when it is imported; what the user has set is left alone.
GRPC_ENVIRONMENT = {
    # It otherwise writes lines of its own to stderr.
    "GRPC_VERBOSITY": "NONE",
    # Its newer listeners hand every event to a thread pool first: a third more CPU time for each call, and for a call
    # on its own a third more latency (docs/performance.md).
    "GRPC_EXPERIMENTS": "-event_engine_listener",
}


#: That of `headgate.server.config`, which takes too long to import.
_LONGEST_S = 86_400.0


class TransportName(StrEnum):
    """What speaks gRPC."""

    AUTO = "auto"
    COMPLETION_QUEUE = "completion-queue"
    PUBLIC_API = "public-api"


class ModelControl(StrEnum):
    """Which models are loaded, and when."""

    NONE = "none"
    POLL = "poll"
    EXPLICIT = "explicit"


class Compression(StrEnum):
    """How answers are compressed."""

    NONE = "none"
    DEFLATE = "deflate"
    GZIP = "gzip"


class ExecutionMode(StrEnum):
    """Where batches run."""

    AUTO = "auto"
    INLINE = "inline"
    THREADS = "threads"


def serve(
    repository: Annotated[
        Path, typer.Argument(help="The model repository: <model>/<version>/model.onnx.", show_default=False)
    ],
    model_control: Annotated[
        ModelControl,
        typer.Option(
            help="Which models are served: those that are there at the start (none), what the repository holds, looked "
            "at again and again (poll), or what clients load and unload (explicit).",
            rich_help_panel="Models",
        ),
    ] = ModelControl.NONE,
    poll_interval: Annotated[
        float,
        typer.Option(
            metavar="SECONDS",
            help="Seconds between two looks at the repository (--model-control poll).",
            min=0.1,
            max=_LONGEST_S,
            rich_help_panel="Models",
        ),
    ] = 15.0,
    load_model: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MODEL",
            help="A model to load at the start (--model-control explicit); '*' for all. Can be given again.",
            show_default=False,
            rich_help_panel="Models",
        ),
    ] = None,
    host: Annotated[
        str,
        typer.Option(
            metavar="ADDRESS",
            help="The address to listen on; 0.0.0.0 for all, unix:/path for a Unix socket.",
            rich_help_panel="Network",
        ),
    ] = "127.0.0.1",
    port: Annotated[
        int,
        typer.Option(
            metavar="PORT",
            help="The port to listen on; 0 for any free one.",
            min=0,
            max=65535,
            rich_help_panel="Network",
        ),
    ] = 8001,
    http_port: Annotated[
        int | None,
        typer.Option(
            metavar="PORT",
            help="Speak HTTP too, on this port (0 for any free one), by a process of its own: docs/http.md.",
            min=0,
            max=65535,
            show_default=False,
            rich_help_panel="Network",
        ),
    ] = None,
    http_host: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="The address for HTTP, if not --host.",
            show_default=False,
            rich_help_panel="Network",
        ),
    ] = None,
    http_timeout: Annotated[
        float,
        typer.Option(
            metavar="SECONDS",
            help="Seconds that an HTTP request may take, unless it says how long itself (Grpc-Timeout).",
            min=0.001,
            max=_LONGEST_S,
            rich_help_panel="Network",
        ),
    ] = 30.0,
    max_message_mb: Annotated[
        int | None,
        typer.Option(
            metavar="MiB",
            help="The largest request, in MiB; without it four full batches of the model with the largest rows, "
            "at least 16, and 64 where sizes are free.",
            min=1,
            show_default=False,
            rich_help_panel="Connections",
        ),
    ] = None,
    allow_shared_memory: Annotated[
        bool,
        typer.Option(
            "--allow-shared-memory",
            help="Let clients of the Open Inference Protocol on this machine pass tensors in shared memory. Who may "
            "call the server can then have it read and write all shared memory that it has access to.",
            rich_help_panel="Network",
        ),
    ] = False,
    tls_cert: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Serve over TLS: the server's certificate (chain), PEM.",
            show_default=False,
            rich_help_panel="TLS",
        ),
    ] = None,
    tls_key: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="The private key of --tls-cert, PEM, not encrypted.",
            show_default=False,
            rich_help_panel="TLS",
        ),
    ] = None,
    tls_client_ca: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Mutual TLS: refuse clients without a certificate from these roots, PEM.",
            show_default=False,
            rich_help_panel="TLS",
        ),
    ] = None,
    compression: Annotated[
        Compression,
        typer.Option(
            help="How answers are compressed; requests may be compressed anyway.", rich_help_panel="Connections"
        ),
    ] = Compression.NONE,
    max_connection_age: Annotated[
        float,
        typer.Option(
            metavar="SECONDS",
            help="Seconds after which a client is asked to connect anew, which spreads clients over servers; "
            "inf for never.",
            min=0.001,
            rich_help_panel="Connections",
        ),
    ] = 1800.0,
    connection_grace: Annotated[
        float,
        typer.Option(
            metavar="SECONDS",
            help="Seconds that calls on such a connection may still take before they are cancelled.",
            min=0,
            rich_help_panel="Connections",
        ),
    ] = math.inf,
    max_concurrent_streams: Annotated[
        int,
        typer.Option(
            metavar="N",
            help="Calls that a connection may have under way; its client keeps the rest, where their deadlines run. "
            "0 for any number.",
            min=0,
            rich_help_panel="Connections",
        ),
    ] = 1024,
    transport: Annotated[
        TransportName,
        typer.Option(
            help="What speaks gRPC; auto takes grpcio's public API where its completion queue does not work.",
            rich_help_panel="Network",
        ),
    ] = TransportName.AUTO,
    workers: Annotated[
        int,
        typer.Option(
            metavar="N",
            help="Processes that share the port, each with its own copy of the models; 0 for one per processor. "
            "A connection stays with one of them: clients need several to use all.",
            min=0,
            rich_help_panel="Execution",
        ),
    ] = 1,
    worker_timeout: Annotated[
        float,
        typer.Option(
            metavar="SECONDS",
            help="Seconds that a process of several (--workers, --http-port) may hang before it is killed and started "
            "again; inf for ever.",
            min=1,
            rich_help_panel="Execution",
        ),
    ] = 30.0,
    busy_poll_us: Annotated[
        int,
        typer.Option(
            metavar="N",
            help="For how many microseconds to poll for the next request before going to sleep, while they come within "
            "that time on average and no model in use runs on threads: single calls are answered sooner, for a "
            "processor that is kept busy meanwhile. 0: never.",
            min=0,
            rich_help_panel="Execution",
        ),
    ] = 200,
    provider: Annotated[
        str,
        typer.Option(
            metavar="NAME", help="The onnxruntime provider: cpu, cuda, or a full name.", rich_help_panel="Execution"
        ),
    ] = "cpu",
    allow_cpu_fallback: Annotated[
        bool,
        typer.Option(
            "--allow-cpu-fallback",
            help="Use the CPU where the provider cannot be had, instead of an error.",
            rich_help_panel="Execution",
        ),
    ] = False,
    execution: Annotated[
        ExecutionMode,
        typer.Option(
            help="Where batches run: on the I/O thread (inline), on threads of their own (threads), or as measured for "
            "each model when it is loaded (auto).",
            rich_help_panel="Execution",
        ),
    ] = ExecutionMode.AUTO,
    max_batch_size: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="The most rows that are run at once; unless given, as many as a model's own speed makes worth while, "
            "up to 1024.",
            min=1,
            show_default=False,
            rich_help_panel="Batching",
        ),
    ] = None,
    max_queue_size: Annotated[
        int,
        typer.Option(
            metavar="N",
            help="The most requests that may wait for a model; more are refused.",
            min=1,
            rich_help_panel="Batching",
        ),
    ] = 1024,
    max_queue_delay_us: Annotated[
        int,
        typer.Option(
            metavar="N",
            help="How long a batch may wait for more rows, in microseconds.",
            min=0,
            rich_help_panel="Batching",
        ),
    ] = 0,
    queue_timeout_us: Annotated[
        int,
        typer.Option(
            metavar="N",
            help="How long a request may wait before it runs, in microseconds, unless it brings a timeout of its own; "
            "0: as long as its client waits.",
            min=0,
            rich_help_panel="Batching",
        ),
    ] = 0,
    drain_timeout: Annotated[
        float,
        typer.Option(
            metavar="SECONDS",
            help="Seconds that accepted requests may take to finish after SIGTERM.",
            min=0,
            max=_LONGEST_S,
        ),
    ] = 30.0,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log what the server does.")] = False,
) -> None:
    r"""Serve all models of a repository over gRPC.

    The latest version of each model (its config.toml may ask for more) is
    loaded, warmed up and served to clients of headgate.v1 (typed predictions),
    of the Open Inference Protocol (raw tensors; Triton's clients work) and of
    TensorFlow Serving, with health checks and reflection on the same port.
    SIGTERM and Ctrl-C drain: new requests are refused, accepted ones are
    finished, and the exit code is 0.

      headgate serve models
      headgate serve models --host 0.0.0.0 --port 9000 --provider cuda
      headgate serve models --workers 4
      headgate serve models --model-control poll
      headgate serve models --http-port 8000
      headgate serve models --host unix:/run/headgate.sock
      headgate serve models --host 0.0.0.0 --tls-cert server.pem --tls-key key.pem

    Each model can have settings of its own in models/<model>/config.toml
    (docs/settings.md):

      \[batching]
      max_batch_size = 32
      max_queue_size = 256
      max_queue_delay_us = 500

      \[execution]
      mode = "threads"
      instances = 2
    """
    for name, value in GRPC_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    from headgate.server import BatchingConfig, ExecutionConfig, ModelConfig, ServerSettings
    from headgate.server import serve as run

    settings = ServerSettings(
        repository=repository,
        host=host,
        port=port,
        workers=workers,
        worker_timeout_s=worker_timeout,
        http_port=http_port,
        http_host=http_host,
        http_timeout_s=http_timeout,
        model_control=model_control.value,
        poll_interval_s=poll_interval,
        load_models=tuple(load_model or ()),
        provider=provider,
        allow_cpu_fallback=allow_cpu_fallback,
        model_defaults=ModelConfig(
            batching=BatchingConfig(
                **({} if max_batch_size is None else {"max_batch_size": max_batch_size}),
                max_queue_size=max_queue_size,
                max_queue_delay_us=max_queue_delay_us,
                queue_timeout_us=queue_timeout_us,
            ),
            execution=ExecutionConfig(mode=execution.value),
        ),
        drain_timeout_s=drain_timeout,
        max_message_bytes=max_message_mb * 1024 * 1024 if max_message_mb else None,
        busy_poll_us=busy_poll_us,
        max_concurrent_streams=max_concurrent_streams,
        allow_shared_memory=allow_shared_memory,
        tls_cert=tls_cert,
        tls_key=tls_key,
        tls_client_ca=tls_client_ca,
        transport=transport.value,
        max_connection_age_s=max_connection_age,
        max_connection_age_grace_s=connection_grace,
        compression=compression.value,
    )
    if not run(settings, _say):
        # Not typer.Exit: the interpreter's orderly end aborts threads that still run batches in C++.
        sys.stdout.flush()
        os._exit(1)


def _say(line: str) -> None:
    try:
        print(line, flush=True)
    except BrokenPipeError:
        # Who read the first lines has gone, as `head` does; the server goes on without.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

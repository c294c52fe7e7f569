"""Settings: what the server is started with, and what a model's `config.toml` may say."""

from __future__ import annotations

import math
import reprlib
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from headgate.server.errors import InvalidArgumentError, StartupError
from headgate.server.transport import TransportName
from headgate.server.transport.options import Compression

CONFIG_FILE = "config.toml"
#: The longest of the times that are waited for, which no clock of the system is to overflow at.
LONGEST_S = 86_400.0
ModelControlMode = Literal["none", "poll", "explicit"]
ExecutionMode = Literal["auto", "inline", "threads"]
GraphOptimizationLevel = Literal["disabled", "basic", "extended", "all"]


class _Section(BaseModel):
    # TOML has types of its own: a text is no number, and `true` is not 1.
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class BatchingConfig(_Section):
    """`[batching]`: how requests are put together."""

    #: The most rows that are run at once. A larger request is run in parts, between which others have their turn. Where
    #: it is not set, models whose rows have a fixed size take up to 1024 while that takes less than half a millisecond.
    max_batch_size: int = Field(default=64, ge=1)
    #: The most requests that may wait; beyond it they are refused with RESOURCE_EXHAUSTED.
    max_queue_size: int = Field(default=1024, ge=1)
    #: How long a batch that is not full may wait for more rows, in microseconds. 0: run at once.
    max_queue_delay_us: int = Field(default=0, ge=0)
    #: How long a request may wait before it runs, in microseconds; then it fails with DEADLINE_EXCEEDED. A request can
    #: bring its own. 0: as long as its client waits.
    queue_timeout_us: int = Field(default=0, ge=0)
    #: Requests of priority 1 go first, those of this number last. 1: all alike, whatever a request asks for.
    priority_levels: int = Field(default=1, ge=1, le=256)
    #: The priority of a request that brings none. 0: the middle level, the lower of two.
    default_priority: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _check_default_priority(self) -> Self:
        if self.default_priority > self.priority_levels:
            raise ValueError(
                f"default_priority is {self.default_priority}; give one of the priority_levels, 1 to "
                f"{self.priority_levels}"
            )
        return self

    def priority(self, asked_for: int) -> int:
        """Return the level of a request that asks for one, 0 if it asks for none.

        Raises:
            InvalidArgumentError: there is no such level.
        """
        if self.priority_levels == 1:
            return 1
        if not 0 <= asked_for <= self.priority_levels:
            raise InvalidArgumentError(
                f"the priority is {asked_for}, the model takes 1 (first) to {self.priority_levels} (last), "
                "or 0 for its default"
            )
        return asked_for or self.default_priority or self.priority_levels // 2 + 1

    def queue_timeout_s(self, asked_for_us: int) -> float:
        """Return how long a request may wait that asks for a timeout, 0 if it asks for none."""
        return (asked_for_us or self.queue_timeout_us) / 1e6 or math.inf


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
    #: Whether these threads spin while they wait for work: faster for one model alone, taken from everything else.
    intra_op_spinning: bool = False
    #: Above 1, independent branches of the graph run at the same time (onnxruntime's parallel execution mode).
    inter_op_threads: int = Field(default=1, ge=1)
    #: How much onnxruntime rewrites the graph at load.
    graph_optimization_level: GraphOptimizationLevel = "all"
    #: Whether freed memory of the processor is kept for the next batch.
    memory_arena: bool = True
    #: Whether the memory of a batch size seen before is taken in one piece. Unset: where row shapes are fixed, since
    #: onnxruntime remembers all shapes for good.
    memory_pattern: bool | None = None
    #: Entries of onnxruntime's session configuration: `{"session.set_denormal_as_zero" = "1"}`.
    session_options: dict[str, str] = {}
    #: An onnxruntime provider, instead of the server's: "cpu", "cuda", or a full name.
    provider: str | None = None
    #: Options of the provider, as onnxruntime names them: `{device_id = 1}`. They go before those that headgate sets.
    provider_options: dict[str, str | int | float | bool] = {}
    #: A batch is filled up with copies of its last row to the next of these sizes, since devices prepare for every size
    #: that is new to them. The last must be batching.max_batch_size. []: batches run as they are. Unset: powers of two
    #: on CUDA and TensorRT, none elsewhere.
    batch_sizes: list[Annotated[int, Field(ge=1)]] | None = None
    #: Whether batches run in memory that is set aside for them and stays where it is, on CUDA page-locked. Row shapes
    #: have to be fixed. Unset: on CUDA and TensorRT, and where batches are small.
    io_binding: bool | None = None
    #: Record the device's work for each of the batch_sizes once and replay it (CUDA only): less time to launch models
    #: of many nodes. An instance does so on a thread of its own, so that every batch changes threads.
    cuda_graphs: bool = False
    #: The most memory that an instance may take on a CUDA device, in MiB. Unset: all there is.
    gpu_mem_limit_mb: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _check_batch_sizes(self) -> Self:
        sizes = self.batch_sizes
        if sizes is not None and sizes != sorted(set(sizes)):
            raise ValueError(f"batch_sizes is {sizes}; give each size once, in ascending order")
        if self.cuda_graphs and (sizes == [] or self.io_binding is False):
            raise ValueError("cuda_graphs needs batch_sizes and io_binding; leave them out, or set cuda_graphs = false")
        return self


class VersionsConfig(_Section):
    """`[versions]`: which versions of the model are served at the same time, beside those that have labels."""

    #: So many of the highest.
    latest: int = Field(default=1, ge=1)
    all: bool = False
    #: These.
    specific: Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=1)] | None = None
    #: Names by which TF Serving's clients can ask for a version: `{stable = 1, canary = 3}`.
    labels: dict[Annotated[str, Field(min_length=1)], Annotated[int, Field(ge=1)]] = {}

    @model_validator(mode="after")
    def _check_policy(self) -> Self:
        given = [name for name in ("latest", "all", "specific") if name in self.model_fields_set]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} exclude one another; give one of them")
        return self

    def choose(self, versions: Sequence[int]) -> tuple[int, ...]:
        """Return which of a model's versions (ascending) are served, ascending; those asked for that are none, too.

        >>> VersionsConfig(latest=2, labels={"stable": 1}).choose([1, 2, 3, 4])
        (1, 3, 4)
        """
        chosen = versions if self.all else self.specific or versions[-self.latest :]
        return tuple(sorted({*chosen, *self.labels.values()}))


class ModelConfig(_Section):
    """All of a `config.toml`."""

    batching: BatchingConfig = BatchingConfig()
    execution: ExecutionConfig = ExecutionConfig()
    versions: VersionsConfig = VersionsConfig()

    @model_validator(mode="after")
    def _check_batch_sizes(self) -> Self:
        sizes, most = self.execution.batch_sizes, self.batching.max_batch_size
        if sizes and sizes[-1] != most:
            raise ValueError(
                f"execution.batch_sizes ends with {sizes[-1]}, batching.max_batch_size is {most}; make them the same"
            )
        return self


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
        # Only what was set: which of the entries of [versions] are given matters.
        merged = defaults.model_dump(exclude_unset=True)
        for section, entries in given.items():
            if isinstance(entries, dict):
                merged[section] = merged.get(section, {}) | entries
            else:
                merged[section] = entries
        return ModelConfig.model_validate(merged)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise StartupError(f"{path} is no valid TOML: {error}") from error
    except ValidationError as error:
        raise StartupError(f"{path}: {'; '.join(map(_problem, error.errors()))}") from error


def _problem(error: ErrorDetails) -> str:
    """Say in a few words what is wrong with an entry."""
    where = ".".join(map(str, error["loc"])) or "config"
    match error["type"]:
        case "extra_forbidden" if len(error["loc"]) == 1:
            return f"{where}: there is no such section; there are [{'], ['.join(ModelConfig.model_fields)}]"
        case "extra_forbidden":
            section = ModelConfig.model_fields[str(error["loc"][0])].default
            return f"{where}: there is no such entry; there are {', '.join(type(section).model_fields)}"
        case "model_type":
            return f"{where}: it is {reprlib.repr(error['input'])}; make it a section, [{where}]"
        case "value_error":
            return f"{where}: {error['ctx']['error']}"
        case _:
            return f"{where}: {error['msg']}, not {reprlib.repr(error['input'])}"


class ServerSettings(_Section):
    """What a server is started with."""

    model_config = ConfigDict(strict=False)

    repository: Path
    #: A name, an IP address, or "unix:/path" for a Unix socket, which has no port.
    host: str = "127.0.0.1"
    port: int = Field(default=8001, ge=0, le=65535)
    #: Where HTTP is spoken too, by a process of its own; 0: any free port. None: nowhere.
    http_port: int | None = Field(default=None, ge=0, le=65535)
    #: A name or an IP address. None: `host`, or 127.0.0.1 where that is a Unix socket.
    http_host: str | None = None
    #: How long an HTTP request may take that does not say.
    http_timeout_s: float = Field(default=30.0, gt=0, le=LONGEST_S)
    #: Processes that share the port (TCP, Linux), each with its own copy of the models and its share of the processors.
    #: 0: one for each processor that may be used. `serve` starts them; a `Server` is always one.
    workers: int = Field(default=1, ge=0)
    #: How long one of several processes may give no sign of life before it is killed and started again; inf: for ever.
    worker_timeout_s: float = Field(default=30.0, gt=0)
    #: An onnxruntime provider: "cpu", "cuda", or a full name such as "OpenVINOExecutionProvider".
    provider: str = "cpu"
    #: Run on the CPU, with a warning, where the provider cannot be had.
    allow_cpu_fallback: bool = False
    #: What models without a word in their config.toml get.
    model_defaults: ModelConfig = ModelConfig()
    #: "none": the models that are there at the start; "poll": what the repository holds, looked at again and again;
    #: "explicit": what clients load and unload.
    model_control: ModelControlMode = "none"
    #: How long between two looks at the repository.
    poll_interval_s: float = Field(default=15.0, gt=0, le=LONGEST_S)
    #: What an explicit server loads at its start; "*": all models.
    load_models: tuple[str, ...] = ()
    #: How long accepted requests may take to finish after SIGTERM.
    drain_timeout_s: float = Field(default=30.0, ge=0, le=LONGEST_S)
    #: The largest request. None: as much as the models' inputs take, see `headgate.server.message_limit`.
    max_message_bytes: int | None = Field(default=None, ge=1024)
    #: Whether requests of the Open Inference Protocol may name shared memory of this machine. Who may call the server
    #: can then have it read and write all that it has access to.
    allow_shared_memory: bool = False
    #: PEM files: the server's certificate and key (TLS), and the roots of its clients' certificates (mutual TLS).
    tls_cert: Path | None = None
    tls_key: Path | None = None
    tls_client_ca: Path | None = None
    #: "auto": grpcio's completion queue, or its public API where that does not work.
    transport: TransportName = "auto"
    #: See `TransportOptions`.
    busy_poll_us: int = Field(default=200, ge=0)
    max_concurrent_streams: int = Field(default=1024, ge=0)
    max_connection_age_s: float = Field(default=1800.0, gt=0)
    max_connection_age_grace_s: float = Field(default=math.inf, ge=0)
    compression: Compression = "none"

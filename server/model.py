"""One version of a model, loaded: everything that its requests need."""

from __future__ import annotations

import functools
import logging
import math
import threading
from pathlib import Path

from headgate.decoders import Decoder, HeadError, decoder_for
from headgate.server.batch_runner import BatchRunner
from headgate.server.batch_size import best_batch, largest_batch, time_batch
from headgate.server.binding import row_bytes
from headgate.server.config import CONFIG_FILE, ModelConfig
from headgate.server.errors import ModelClosedError, StartupError
from headgate.server.golden import check_golden
from headgate.server.inference import InferenceRequest
from headgate.server.inputs import ModelInputs
from headgate.server.operators import needs_elements
from headgate.server.processors import available_processors
from headgate.server.providers import CPU, resolve_provider
from headgate.server.scheduling import InlineScheduler, Scheduler, ThreadScheduler
from headgate.server.session import Session
from headgate.server.splitting import SplitRequest
from headgate.server.statistics import Statistics
from headgate.v1 import Signature
from headgate.v1.signatures import METADATA_KEY, SCHEMA_VERSION, inputs_hash, signature_from_json

_log = logging.getLogger(__name__)

MODEL_FILE = "model.onnx"
#: A model runs inline when its full batch takes less than this: longer, and other calls would feel it.
_INLINE_LIMIT_S = 500e-6
#: What a full batch is tried by first.
_FEW_ROWS = 2
#: The most rows that run at once unless that is set.
_MOST_ROWS = 1024


class LoadedModel:
    """A model version that is ready to answer.

    Attributes:
        name, version: as in the model repository.
        signature: from the file; for a file without one, made of the graph's inputs and outputs, without heads.
        decoders: by head, in the order of the signature.
        inputs_hash: another number for a model that takes other inputs.
        output_names: as in the graph, in its order.
        session: its onnxruntime session.
        config: its serving knobs, `batching.max_batch_size` as it was chosen where it was not set.
        batch_rows: up to how many rows of several requests run at once; fewer than `max_batch_size` where that was not
            set and larger batches would gain nothing.
        provider: the onnxruntime provider that runs it.
    """

    def __init__(
        self,
        name: str,
        version: int,
        path: Path,
        config: ModelConfig,
        provider: str,
        allow_cpu_fallback: bool = False,
        processors: int | None = None,
        batch_ended: threading.Event | None = None,
    ) -> None:
        """Load, check and warm up a model.

        Args:
            name: what requests call it.
            version: which of its versions it is.
            path: the ONNX file.
            config: its serving knobs.
            provider: a full onnxruntime provider name.
            allow_cpu_fallback: whether the CPU will do where the provider cannot be used.
            processors: how many its instances share; None for all that this process may use.
            batch_ended: set whenever a batch has ended that did not run on the I/O thread.

        Raises:
            StartupError: the file, its signature or the device is not usable, or it gives other answers than its golden
                examples; the message names the file and says why.
        """
        self.name = name
        self.version = version
        self.statistics = Statistics()
        #: Makes a renderer for this model, or gives the one made before for the same arguments: requests share it.
        self.renderer = functools.lru_cache(maxsize=256)(lambda kind, *arguments: kind(self, *arguments))
        threads = config.execution.intra_op_threads
        if config.execution.provider is not None:
            try:
                provider = resolve_provider(config.execution.provider, allow_cpu_fallback)
            except StartupError as error:
                raise StartupError(f"{path.parent.parent / CONFIG_FILE}: execution.provider: {error}") from error
        max_rows = config.batching.max_batch_size
        session = Session(path, provider, threads or 1, allow_cpu_fallback, config.execution, max_rows)
        on_cpu = session.provider == CPU
        try:
            self.signature = _read_signature(session)
            self.inputs_hash = inputs_hash(self.signature)
            has_free_sizes = any(-1 in spec.shape[1:] for spec in session.inputs)
            # Other devices than the CPU prepare themselves for each shape that is new to them.
            self.inputs = ModelInputs(
                session.inputs,
                session.outputs,
                self.signature.paddings,
                pad_to_bucket=not on_cpu,
                meanings=self.signature.input_meanings,
                needs_elements=needs_elements(path, session.provider) if has_free_sizes else "",
            )
            self.output_names = tuple(spec.name for spec in session.outputs)
            self.decoders = _decoders(self.signature, session)
            is_open = "max_batch_size" not in config.batching.model_fields_set and not session.batch_sizes
            # What rows of free sizes take, nobody knows.
            is_open = is_open and row_bytes(session.inputs) is not None
            batch_s = time_batch(session, _FEW_ROWS if is_open else max_rows, path)
            # A full batch of a slow model would take long.
            if is_open and batch_s < _INLINE_LIMIT_S:
                batch_s = time_batch(session, max_rows, path)
        except (StartupError, HeadError, ValueError) as error:
            raise StartupError(f"{path}: {error}") from error
        inline = _runs_inline(batch_s, config, on_cpu)
        is_fast = batch_s < _INLINE_LIMIT_S
        if inline and is_open and is_fast:
            seconds = functools.partial(time_batch, session, path=path)
            most_rows, batch_s = largest_batch(seconds, max_rows, batch_s, _MOST_ROWS, _INLINE_LIMIT_S)
            if most_rows > max_rows:
                max_rows = most_rows
                batching = config.batching.model_copy(update={"max_batch_size": max_rows})
                config = config.model_copy(update={"batching": batching})
                session = Session(path, provider, threads or 1, allow_cpu_fallback, config.execution, max_rows)
                session.warm_up(max_rows)
        processors = processors or available_processors()
        instances = config.execution.instances
        if not inline and not threads:
            threads = max(1, processors // instances) if on_cpu else 1
            if threads > 1:
                session = Session(path, provider, threads, allow_cpu_fallback, config.execution, max_rows)
                if is_fast or not is_open:
                    batch_s = time_batch(session, max_rows, path)
        self.batch_rows = max_rows
        if is_open and not is_fast and batch_s < math.inf:
            self.batch_rows, batch_s = best_batch(functools.partial(time_batch, session, path=path), max_rows)
        check_golden(path, session, self.inputs, self.signature, self.decoders, max_rows)
        self.session = session
        self.config = config
        self._is_closed = False
        self._lock = threading.Lock()
        self.provider = session.provider
        runner = BatchRunner(session, self.inputs, self.statistics, f"{name}/{version}")
        self.scheduler: Scheduler = (
            InlineScheduler(runner, config.batching, self.batch_rows)
            if inline
            else ThreadScheduler(
                runner,
                config.batching,
                self.batch_rows,
                instances,
                batch_s,
                on_cpu and threads * instances >= processors,
                batch_ended,
            )
        )
        _log.info(
            "loaded %s version %d on %s: %s, a batch of %d takes %.2f ms",
            name, version, self.provider, "inline" if inline else f"{instances} x {threads} threads",
            self.batch_rows, batch_s * 1e3,
        )  # fmt: skip

    def submit(self, request: InferenceRequest) -> None:
        """Queue a request; its call is answered when it has run.

        Raises:
            QueueFullError: there is no room.
            DeadlineExceededError: it would not be done in time.
            ModelClosedError: it has been closed, and has not touched the request.
        """
        # Held until it is queued: what closes the model waits for that, and then for the queue.
        with self._lock:
            if self._is_closed:
                raise ModelClosedError(f"model '{self.name}' version {self.version} was unloaded; try again")
            max_rows = self.config.batching.max_batch_size
            if request.rows > max_rows:
                SplitRequest(request, max_rows, self.scheduler.submit, self.statistics).start()
            else:
                self.scheduler.submit(request)

    def close(self) -> None:
        """Take no more requests, finish what is queued, end the threads, and free what running takes."""
        with self._lock:
            self._is_closed = True
        self.scheduler.close()
        self.session.close()


def _runs_inline(batch_s: float, config: ModelConfig, on_cpu: bool) -> bool:
    if config.execution.mode == "auto":
        # To wait for more rows, or to run two batches at a time, takes a thread. While a device works, the I/O thread
        # can do something else.
        free = on_cpu and config.batching.max_queue_delay_us == 0 and config.execution.instances == 1
        return free and batch_s < _INLINE_LIMIT_S
    return config.execution.mode == "inline"


def _read_signature(session: Session) -> Signature:
    text = session.metadata.get(METADATA_KEY)
    if text is None:
        return Signature(schema_version=SCHEMA_VERSION, inputs=session.inputs, outputs=session.outputs)
    signature = signature_from_json(text)
    # Clients make their requests by it; one written by hand may say nothing but the heads.
    if not signature.inputs:
        signature.inputs.extend(session.inputs)
    if not signature.outputs:
        signature.outputs.extend(session.outputs)
    return signature


def _decoders(signature: Signature, session: Session) -> dict[str, Decoder]:
    decoders: dict[str, Decoder] = {}
    for head in signature.heads:
        if head.name in decoders:
            raise StartupError(f"two heads are named '{head.name}'")
        decoders[head.name] = decoder_for(head, session.outputs)
    return decoders

"""The server: a model repository, the dialects, and a transport, from start to shutdown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import headgate
from headgate.foreign import reflection_v1, reflection_v1alpha
from headgate.server.config import ServerSettings
from headgate.server.dialects import headgate_v1, health, model_repository, open_inference, tensorflow_serving
from headgate.server.dialects.open_inference_settings import SettingsDialect
from headgate.server.dialects.open_inference_shared_memory import SharedMemoryDialect
from headgate.server.dialects.reflection import Reflection
from headgate.server.memory import MemoryTrimmer
from headgate.server.message_limit import largest_message_bytes
from headgate.server.model import MODEL_FILE, LoadedModel
from headgate.server.model_control import ModelControl
from headgate.server.processors import available_processors
from headgate.server.providers import resolve_provider
from headgate.server.repository import ModelEntry, ModelRepository
from headgate.server.shared_memory import SharedMemory
from headgate.server.transport import Method, TransportOptions, create_transport, read_tls_options
from headgate.server.workers import Workers


class Server:
    """Serves all models of a repository over gRPC.

    Listening starts before loading, so that health checks see the server alive, but not ready, while it loads.
    """

    def __init__(self, settings: ServerSettings, workers: Workers | None = None) -> None:
        """Look at the repository and the device.

        Args:
            settings: what it is started with.
            workers: those that it shares the port with, itself among them; None where it is alone.

        Raises:
            StartupError: there is no model, a config.toml is wrong, the provider is not available, or TLS is not as
                it should be.
        """
        self.settings = settings
        self.repository = ModelRepository()
        self.control = ModelControl(
            self.repository,
            settings.repository,
            settings.model_defaults,
            settings.model_control,
            settings.load_models,
        )
        self._provider = resolve_provider(settings.provider, settings.allow_cpu_fallback)
        predictions = [headgate_v1.SERVICE, open_inference.SERVICE, *tensorflow_serving.SERVICES]
        self._health = health.HealthDialect(service.full_name for service in predictions)
        reflection = Reflection([*predictions, health.SERVICE, reflection_v1.SERVICE, reflection_v1alpha.SERVICE])
        max_message_bytes = settings.max_message_bytes or largest_message_bytes(
            [(entry.path / MODEL_FILE, entry.config.batching.max_batch_size) for entry in self.repository],
            others_may_come=settings.model_control != "none",
        )
        self.memory = SharedMemory(settings.allow_shared_memory, max_message_bytes)
        sharing = SharedMemoryDialect(self.memory)
        methods: dict[str, Method] = {
            **headgate_v1.HeadgateDialect(self.repository, lambda: self._transport.expired_calls).methods(),
            **open_inference.OpenInferenceDialect(self.repository, headgate.__version__, self.memory).methods(),
            **sharing.methods(),
            **SettingsDialect(self.repository).methods(),
            **model_repository.ModelRepositoryDialect(self.repository, self.control).methods(),
            **tensorflow_serving.TensorFlowServingDialect(self.repository, self.control).methods(),
            **self._health.methods(),
            **reflection.methods(),
        }
        self._processors = available_processors()
        self._workers = workers
        if workers is not None:
            methods |= workers.shared_methods(methods, lambda: self._health.is_serving)
            # Several never share a Unix socket with clients.
            if len(workers.addresses) > 1:
                own = sharing.methods_for_workers()
                methods |= {path: replace(method, is_internal=True) for path, method in own.items()}
            self._processors = max(1, self._processors // len(workers.addresses))
        self._options = TransportOptions(
            host=settings.host,
            port=settings.port,
            share_port=workers is not None,
            internal_address=workers.own_address if workers is not None else "",
            tls=read_tls_options(settings.tls_cert, settings.tls_key, settings.tls_client_ca),
            max_message_bytes=max_message_bytes,
            busy_poll_us=settings.busy_poll_us,
            max_concurrent_streams=settings.max_concurrent_streams,
            max_connection_age_s=settings.max_connection_age_s,
            max_connection_age_grace_s=settings.max_connection_age_grace_s,
            compression=settings.compression,
        )
        self._transport = create_transport(settings.transport, methods, self.repository.run_ready, self._options)
        self._trimmer = MemoryTrimmer()

    @property
    def port(self) -> int:
        """The port that is listened on, 0 for a Unix socket; known after `start`."""
        return self._transport.port

    @property
    def address(self) -> str:
        """What clients connect to, "host:port" or "unix:/path"; known after `start`."""
        return self._options.address(self.port)

    def start(self, on_loaded: Callable[[LoadedModel], None] = lambda model: None) -> None:
        """Listen, then load the models one by one; ready when this returns.

        Raises:
            StartupError: the address is taken, or a model cannot be loaded. The server has then stopped again.
        """
        self.listen()
        self.load(on_loaded)
        self.set_ready()

    def listen(self) -> None:
        """Take requests; models that are not loaded are unavailable.

        Raises:
            StartupError: the address is taken.
        """
        self._transport.start()
        self._trimmer.start()

    def load(self, on_loaded: Callable[[LoadedModel], None] = lambda model: None) -> None:
        """Load the models one by one.

        Raises:
            StartupError: one cannot be loaded. The server has then stopped.
        """
        try:
            self.control.start(self._load_model, self.settings.poll_interval_s, on_loaded)
        except BaseException:
            self.stop()
            raise

    def set_ready(self) -> None:
        """Have health checks say that it serves."""
        self._health.set_serving(True)

    def stop(self, timeout_s: float | None = None) -> bool:
        """Refuse what is new, finish what was accepted, and end; return whether the time sufficed.

        Without a timeout that is the settings' drain timeout.
        """
        self._health.set_serving(False)
        # Requests are not to wait for a large model that loads; it may be one of them that has it loaded.
        self.control.refuse()
        finished = self._transport.drain(self.settings.drain_timeout_s if timeout_s is None else timeout_s)
        self.control.close()
        self.repository.close()
        if self._workers is not None:
            self._workers.close()
        self._transport.close()
        self._trimmer.close()
        return finished

    def _load_model(self, entry: ModelEntry) -> LoadedModel:
        return self.repository.load(entry, self._provider, self.settings.allow_cpu_fallback, self._processors)

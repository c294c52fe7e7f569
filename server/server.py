"""The server: a model repository, the dialects, and a transport, from start to shutdown."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType

import headgate
from headgate.foreign import reflection_v1, reflection_v1alpha
from headgate.server.config import ServerSettings
from headgate.server.dialects import headgate_v1, health, open_inference
from headgate.server.dialects.reflection import Reflection
from headgate.server.model import LoadedModel
from headgate.server.repository import ModelRepository
from headgate.server.session import resolve_provider
from headgate.server.transport import Method, TransportOptions, create_transport, read_tls_options


class Server:
    """Serves all models of a repository over gRPC.

    Listening starts before loading, so that health checks see the server alive, but not ready, while it loads.
    """

    def __init__(self, settings: ServerSettings) -> None:
        """Look at the repository and the device.

        Raises:
            StartupError: there is no model, a config.toml is wrong, the provider is not available, or TLS is not as
                it should be.
        """
        self.settings = settings
        self.repository = ModelRepository(settings.repository, settings.model_defaults)
        self._provider = resolve_provider(settings.provider, settings.allow_cpu_fallback)
        predictions = [headgate_v1.SERVICE, open_inference.SERVICE]
        self._health = health.HealthDialect(service.full_name for service in predictions)
        reflection = Reflection([*predictions, health.SERVICE, reflection_v1.SERVICE, reflection_v1alpha.SERVICE])
        methods: dict[str, Method] = {
            **headgate_v1.HeadgateDialect(self.repository).methods(),
            **open_inference.OpenInferenceDialect(self.repository, headgate.__version__).methods(),
            **self._health.methods(),
            **reflection.methods(),
        }
        self._options = TransportOptions(
            host=settings.host,
            port=settings.port,
            tls=read_tls_options(settings.tls_cert, settings.tls_key, settings.tls_client_ca),
            max_message_bytes=settings.max_message_bytes,
            max_connection_age_s=settings.max_connection_age_s,
            max_connection_age_grace_s=settings.max_connection_age_grace_s,
            compression=settings.compression,
        )
        self._transport = create_transport(settings.transport, methods, self._run_ready, self._options)

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
        self._transport.start()
        try:
            for entry in self.repository:
                on_loaded(self.repository.load(entry, self._provider, self.settings.allow_cpu_fallback))
        except BaseException:
            self.stop()
            raise
        self._health.set_serving(True)

    def stop(self) -> bool:
        """Refuse what is new, finish what was accepted, and end; return whether the drain timeout sufficed."""
        self._health.set_serving(False)
        finished = self._transport.drain(self.settings.drain_timeout_s)
        self.repository.close()
        self._transport.close()
        return finished

    def _run_ready(self) -> None:
        for entry in self.repository:
            if entry.model is not None:
                entry.model.scheduler.run_ready()


def serve(
    settings: ServerSettings,
    on_loaded: Callable[[LoadedModel], None] = lambda model: None,
    on_ready: Callable[[Server], None] = lambda server: None,
    on_stopping: Callable[[], None] = lambda: None,
) -> bool:
    """Run a server until SIGTERM or SIGINT, then drain it; return whether all accepted requests finished.

    A second signal during the drain ends it at once. Call it on the main thread.

    Raises:
        StartupError: the server cannot start as asked.
    """
    server = Server(settings)
    stop = threading.Event()
    loading = True

    def request_stop(signum: int, frame: FrameType | None) -> None:
        if loading or stop.is_set():
            raise _Interrupted
        stop.set()

    previous = {number: signal.signal(number, request_stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        server.start(on_loaded)
        loading = False
        on_ready(server)
        stop.wait()
        on_stopping()
        return server.stop()
    except _Interrupted:
        return False
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


class _Interrupted(BaseException):
    """A signal came while the server was loading, or a second one while it drained."""

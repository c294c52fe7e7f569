"""Real Keras models, exported and served once for all tests of the client."""

import contextlib
import select
import socket
import threading

import numpy as np
import pytest

from headgate.client import Client
from headgate.exporter import export_model
from headgate.server import Server, ServerSettings


@pytest.fixture
def rng():
    return np.random.default_rng(11)


@pytest.fixture(scope="session")
def scaling():
    return {"mean": [210.5, 3.25], "scale": [88.0, 1.5]}


@pytest.fixture(scope="session")
def digit_labels():
    return ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]


@pytest.fixture(scope="session")
def tag_labels():
    return ["cat", "dog", "bird", "fish", "bee"]


@pytest.fixture(scope="session")
def tag_thresholds():
    return [0.3, 0.4, 0.5, 0.6, 0.7]


@pytest.fixture(scope="session")
def keras_models():
    """Keras models with random weights, by the names that they are served under."""
    import keras

    keras.utils.set_random_seed(7)
    layers = keras.layers

    def build(outputs_of, *inputs):
        return keras.Model(inputs if len(inputs) > 1 else inputs[0], outputs_of(*inputs))

    def patient(vitals, codes):
        body = layers.Concatenate()([vitals, layers.Flatten()(layers.Embedding(20, 4)(codes))])
        return [layers.Dense(1, name="stay")(body), layers.Dense(1, activation="sigmoid", name="risk")(body)]

    return {
        "prices": build(
            lambda x: layers.Dense(2, name="price")(layers.Dense(8, "relu")(x)), keras.Input((4,), name="features")
        ),
        "churn": build(lambda x: layers.Dense(1, "sigmoid", name="churn")(x), keras.Input((4,), name="features")),
        "digits": build(
            lambda x: layers.Dense(10, "softmax", name="digit")(layers.Flatten()(layers.Conv2D(4, 3)(x))),
            keras.Input((8, 8, 1), name="image"),
        ),
        "tags": build(lambda x: layers.Dense(5, "sigmoid", name="tags")(x), keras.Input((6,), name="features")),
        "patients": build(patient, keras.Input((6,), name="vitals"), keras.Input((3,), dtype="int32", name="codes")),
    }


@pytest.fixture(scope="session")
def repository(keras_models, scaling, digit_labels, tag_labels, tag_thresholds, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    settings = {
        "prices": {"units": ["EUR", "years"], "target_scaling": scaling},
        "churn": {"labels": ["stays", "leaves"], "threshold": 0.41},
        "digits": {"labels": digit_labels},
        "tags": {"labels": tag_labels, "threshold": tag_thresholds},
        "patients": {"labels": {"risk": ["low", "high"]}, "units": "days"},
    }
    for name, model in keras_models.items():
        export_model(model, folder, name=name, **settings[name])
    return folder


@pytest.fixture(scope="session")
def server(repository):
    running = Server(ServerSettings(repository=repository, port=0))
    running.start()
    yield running
    running.stop()


@pytest.fixture
def target(server):
    return f"localhost:{server.port}"


@pytest.fixture
def client(target):
    with Client(target) as connected:
        yield connected


@pytest.fixture
def silent_target():
    """Where connections are accepted and nothing is ever said."""
    with socket.create_server(("localhost", 0)) as listener:
        yield f"localhost:{listener.getsockname()[1]}"


class Proxy:
    """Forwards connections to a port of this machine.

    Attributes:
        target: where it listens.
        connections: how many have come.
        flowing: while it is cleared, nothing gets through.
        forgotten: set when a connection was idle for longer than `idle_s`. Its ends are not told; nothing gets through.
    """

    def __init__(self, port, idle_s=None):
        self._port = port
        self._idle_s = idle_s
        self._listener = socket.create_server(("localhost", 0))
        self._open = []
        self._closed = threading.Event()
        self.target = f"localhost:{self._listener.getsockname()[1]}"
        self.connections = 0
        self.flowing = threading.Event()
        self.flowing.set()
        self.forgotten = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self):
        """Break all connections."""
        while self._open:
            with contextlib.suppress(OSError):
                self._open.pop().shutdown(socket.SHUT_RDWR)

    def close(self):
        self._closed.set()
        self.flowing.set()
        # A thread that accepts is not woken by closing alone.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("localhost", self._port))
                self.connections += 1
                self._open += [client, server]
                threading.Thread(target=self._forward, args=(client, server), daemon=True).start()

    def _forward(self, client, server):
        other = {client: server, server: client}
        with client, server, contextlib.suppress(OSError):
            while True:
                ready, _, _ = select.select(other, (), (), self._idle_s)
                if not ready:
                    self.forgotten.set()
                    self._closed.wait()
                    return
                self.flowing.wait()
                for end in ready:
                    data = end.recv(65536)
                    if not data:
                        return
                    other[end].sendall(data)


@pytest.fixture
def proxy():
    """Put a proxy before a port: `proxy(port, idle_s)`."""
    with contextlib.ExitStack() as stack:

        def start(port, idle_s=None):
            return stack.enter_context(contextlib.closing(Proxy(port, idle_s)))

        yield start


@pytest.fixture(scope="session")
def free_port():
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return probe.getsockname()[1]

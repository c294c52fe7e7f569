"""A Keras model of sequences, exported with padding: requests of other lengths run together, and get Keras' answers."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from headgate.client import Client
from headgate.server import Server, ServerSettings

keras = pytest.importorskip("keras", reason="exports a Keras model: pip install '.[export,tensorflow]'")

LENGTHS = range(33, 65)
#: No batch runs before all requests are there.
CONFIG = {
    "batching": {"max_batch_size": len(LENGTHS), "max_queue_delay_us": 60_000_000},
    "execution": {"mode": "threads", "intra_op_threads": 1},
}


def test_one_batch_gives_the_answers_of_keras(tmp_path):
    from headgate.exporter import export_model

    keras.utils.set_random_seed(0)
    tokens = keras.Input((None,), dtype="int32", name="tokens")
    states = keras.layers.GRU(8)(keras.layers.Embedding(100, 8, mask_zero=True)(tokens))
    model = keras.Model(tokens, keras.layers.Dense(2, "softmax", name="mood")(states), name="reviews")
    export_model(model, tmp_path, paddings=["tokens:1"])

    random = np.random.default_rng(0)
    reviews = [random.integers(1, 100, (1, length)).astype(np.int32) for length in LENGTHS]
    server = Server(ServerSettings(repository=tmp_path, port=0, model_defaults=CONFIG))
    server.start()
    try:
        with Client(f"localhost:{server.port}") as client, ThreadPoolExecutor(len(reviews)) as pool:
            asked = [pool.submit(client.predict, "reviews", review, include_probabilities=True) for review in reviews]
            answers = [future.result().head.probabilities for future in asked]
        (entry,) = server.repository
        with entry.model.statistics.lock:
            assert entry.model.statistics.execution_count == 1
    finally:
        server.stop()
    for review, answer in zip(reviews, answers, strict=True):
        np.testing.assert_allclose(answer, model.predict(review, verbose=0), rtol=1e-3, atol=1e-4)

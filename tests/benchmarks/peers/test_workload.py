import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import numpy as np
import pytest

from headgate.benchmarks.http1 import Post
from headgate.benchmarks.http2 import Call
from headgate.benchmarks.models import mlp_logits
from headgate.benchmarks.peers.processes import free_port
from headgate.benchmarks.peers.workload import (
    ask,
    echo_unary,
    json_http,
    make_workload,
    open_inference,
    raw_http,
)
from headgate.foreign.open_inference import ModelInferRequest, ModelInferResponse


def test_models_stand_in_repositories_of_their_own(mlp, tmp_path):
    assert mlp.path.relative_to(mlp.repository).as_posix() == "model/1/model.onnx"
    np.testing.assert_allclose(mlp.logits, mlp_logits(mlp.features), rtol=1e-4, atol=1e-4)
    cnn = make_workload("cnn", tmp_path)
    assert cnn.features.shape == (1, 1, 16, 16)
    assert cnn.logits.shape == (1, 3)


def test_open_inference(mlp):
    request = open_inference(mlp)
    sent = ModelInferRequest.FromString(request.call.request)
    assert sent.model_name == "model"
    assert np.array_equal(np.frombuffer(sent.raw_input_contents[0], "<f4"), mlp.features[0])
    assert request.is_right(ModelInferResponse(raw_output_contents=[mlp.logits.tobytes()]).SerializeToString())
    for wrong in ([], [(mlp.logits + 0.01).tobytes()], [mlp.logits.tobytes()[:8]], [mlp.logits.tobytes()] * 2):
        assert not request.is_right(ModelInferResponse(raw_output_contents=wrong).SerializeToString())


def test_echo(mlp):
    request = echo_unary(mlp)
    assert request.is_right(open_inference(mlp).call.request)
    assert not request.is_right(b"")


def test_raw_http(mlp):
    request = raw_http(mlp)
    assert request.call.body == mlp.features.tobytes()
    assert request.is_right(mlp.logits.tobytes())
    assert not request.is_right((mlp.logits + 0.01).tobytes())
    assert not request.is_right(b"")


def test_json_http(mlp):
    request = json_http(mlp)
    assert np.allclose(json.loads(request.call.body)["features"], mlp.features[0])
    assert request.is_right(json.dumps({"logits": mlp.logits[0].tolist()}).encode())
    assert not request.is_right(json.dumps({"logits": [0, 0, 0]}).encode())


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200 if self.path == "/right" else 418)
        self.end_headers()
        self.wfile.write(body[::-1])

    def log_message(self, *arguments):
        pass


def test_ask_over_http():
    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            assert ask(Post("/right", b"abc", "text/plain"), server.server_port) == b"cba"
            with pytest.raises(ConnectionError, match=r"418 I'm a Teapot: b'cba'"):
                ask(Post("/wrong", b"abc", "text/plain"), server.server_port)
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("call", [Post("/", b"", "text/plain"), Call("/a/B", b"", False)], ids=["http", "grpc"])
def test_nobody_to_ask(call):
    with pytest.raises(ConnectionError, match="refused"):
        ask(call, free_port())

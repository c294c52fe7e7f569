import sys

import pytest

from headgate.benchmarks.peers import environments
from headgate.benchmarks.peers.catalog import ForeignServer
from headgate.benchmarks.peers.workload import make_workload, raw_http

# Answers every request, whatever it asks, with the bytes that are its last argument in hexadecimal.
CONSTANT = """
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_, model, port, answer = sys.argv

class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        body = bytes.fromhex(answer)
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass

ThreadingHTTPServer(("127.0.0.1", int(port)), Handler).serve_forever()
"""


@pytest.fixture(scope="session")
def mlp(tmp_path_factory):
    return make_workload("mlp", tmp_path_factory.mktemp("mlp"))


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


@pytest.fixture
def add_peer(tmp_path, cache, monkeypatch):
    """Add a foreign server from its script, in an environment that is that of the tests."""
    monkeypatch.setattr(environments, "FOLDER", tmp_path / "peers")

    def add_peer(name, script, *arguments):
        folder = tmp_path / "peers" / name
        folder.mkdir(parents=True)
        (folder / "server.py").write_text(script)
        (folder / "requirements.txt").write_text(f"{name}==1.0\n\n# What it needs.\nother==2.0\n")
        python = environments.python_of(name, cache)
        python.parent.mkdir(parents=True)
        python.symlink_to(sys.executable)
        (cache / name / "installed.txt").write_text((folder / "requirements.txt").read_text())
        return ForeignServer(
            name=name, title=name.upper(), protocol="HTTP", request=raw_http, settings="none", arguments=arguments
        )

    return add_peer


@pytest.fixture
def add_constant_peer(add_peer):
    """Add a foreign server that answers all requests with the same bytes."""
    return lambda name, answer: add_peer(name, CONSTANT, answer.hex())

import contextlib
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import onnx
import onnx.parser
import pytest
from hdrh.histogram import HdrHistogram

from headgate.benchmarks.models import write_mlp
from headgate.benchmarks.servers import running
from headgate.foreign.open_inference import ModelStatistics

HEADGATE = [sys.executable, "-m", "headgate.cli"]
QUICK = ["--seconds", "0.4", "--warmup", "0.1"]


def write_raw(folder, name, graph):
    path = folder / name / "1" / "model.onnx"
    path.parent.mkdir(parents=True)
    onnx.save(onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 18]> {graph}'), path)


@pytest.fixture(scope="module")
def mlp_url(tmp_path_factory):
    """A server of an MLP, of one that refuses most requests, and of models without heads."""
    folder = tmp_path_factory.mktemp("models")
    write_mlp(folder)
    write_mlp(folder, "tiny_queue")
    (folder / "tiny_queue" / "config.toml").write_text(
        '[batching]\nmax_queue_size = 1\n[execution]\nmode = "threads"\n'
    )
    write_raw(folder, "lengths", "g (float[batch,n] x) => (float[batch,n] y) { y = Identity(x) }")
    write_raw(folder, "text", "g (string[batch,1] x) => (string[batch,1] y) { y = Identity(x) }")
    with running("headgate.cli", "serve", str(folder), "--port", "0") as server:
        yield f"127.0.0.1:{server.port}"


@pytest.fixture
def bench(run, mlp_url, tmp_path):
    """Run `headgate bench` to its end; return what it printed and its figures."""

    def bench(*arguments):
        file = tmp_path / "figures.json"
        ended = run("bench", *arguments, *QUICK, "--url", mlp_url, "--json", file)
        assert ended.code == 0, ended.err
        return SimpleNamespace(out=ended.out, **json.loads(file.read_text()))

    return bench


def test_closed_loop(bench):
    figures = bench("mlp", "--concurrency", "1,16")
    assert [run["load"]["concurrency"] for run in figures.runs] == [1, 16]
    for run in figures.runs:
        requests, server = run["requests"], run["server"]
        assert run["throughput"] > 0
        assert requests["ok"] == requests["offered"]
        assert requests["errors"] == {}
        latencies = [requests["latency_s"][f"p{percent}"] for percent in ("50", "90", "99", "99.9", "99.99", "100")]
        assert latencies == sorted(latencies)
        assert HdrHistogram.decode(requests["latency_hdr"]).get_total_count() == requests["ok"]
        assert server["requests"] > 0
        # The server sees no more of a request than the client.
        seen = server["queue_s"] + server["input_s"] + server["infer_s"] + server["output_s"]
        assert 0 < seen <= sum(latencies[-1:])
    assert figures.runs[0]["server"]["batch_rows"] == 1
    assert figures.runs[1]["server"]["batch_rows"] > 1
    assert re.search(r"^ *16 in flight +[\d,]+ ", figures.out, re.MULTILINE)
    assert "rows a batch" in figures.out


@pytest.mark.parametrize("options", [["--raw"], ["--stream"], ["--raw", "--stream"], ["--poisson"]])
def test_open_loop(bench, options):
    figures = bench("mlp", "--rate", "100,300", *options, "--rows", 3, "--timeout", "30s", "--connections", 3)
    for run, rate in zip(figures.runs, (100, 300), strict=True):
        assert run["load"]["kind"] == "open"
        assert run["requests"]["errors"] == {}
        assert run["requests"]["ok"] == run["requests"]["offered"]
        assert run["requests"]["offered"] == (
            pytest.approx(rate * 0.4, rel=0.6) if options == ["--poisson"] else rate * 0.4
        )
        # All requests have three rows.
        assert run["server"]["batch_rows"] >= 3
    assert f"{'Stream' if '--stream' in options else ''}{'Infer' if '--raw' in options else 'Predict'}" in figures.call
    assert "300/s" in figures.out


@pytest.mark.parametrize("options", [[], ["--stream"]])
def test_errors_by_code(bench, options):
    run = bench("tiny_queue", "--concurrency", 64, *options).runs[0]
    requests = run["requests"]
    assert set(requests["errors"]) == {"RESOURCE_EXHAUSTED"}
    assert requests["ok"] > 0
    assert requests["ok"] + requests["errors"]["RESOURCE_EXHAUSTED"] == requests["offered"]
    assert requests["error_latency_s"]["p50"] > 0


def test_free_sizes_and_text(bench):
    assert bench("lengths", "--raw", "--shape", "x=7", "--concurrency", 2).runs[0]["requests"]["errors"] == {}
    assert bench("text", "--raw", "--concurrency", 2, "--rows", 2).runs[0]["requests"]["errors"] == {}


def test_given_inputs(bench, tmp_path):
    np.save(tmp_path / "rows.npy", np.random.default_rng(0).normal(size=(50, 10)))
    assert bench("mlp", "--input", tmp_path / "rows.npy", "--concurrency", 2).runs[0]["requests"]["errors"] == {}


def test_search(bench):
    # Everything is within a minute: the search ends where the server, or the load generator, is at its end.
    figures = bench("mlp", "--max-rate-under-p99", "100ms", "--raw")
    tried = [run for run in figures.runs if run["load"]["kind"] == "open"]
    good = [run["load"]["phases"][0]["rate"] for run in tried if run["requests"]["latency_s"]["p99"] <= 0.1]
    assert figures.highest_rate in (0, *good)
    assert f"{figures.highest_rate:,.0f}/s" in figures.out


@pytest.mark.parametrize("name", ["plot.png", "plot.svg", "plot.html"])
def test_plot(run, mlp_url, tmp_path, name):
    ended = run("bench", "mlp", *QUICK, "--url", mlp_url, "--concurrency", "1,4", "--plot", tmp_path / name)
    assert ended.code == 0
    content = (tmp_path / name).read_bytes()
    if name.endswith(".png"):
        assert content.startswith(b"\x89PNG")
    else:
        assert b"<svg" in content
        assert (b"<!doctype html>" in content) == name.endswith(".html")


def test_ctrl_c_reports_what_was_seen(mlp_url, tmp_path):
    file = tmp_path / "figures.json"
    command = [*HEADGATE, "bench", "mlp", "--url", mlp_url, "--rate", "100", "--seconds", "100", "--warmup", "0"]
    # A console tells when the measurement is under way.
    with subprocess.Popen(
        [*command, "--json", file], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as bench:
        before = inferences(mlp_url)
        for _ in itertools.count():
            time.sleep(0.1)
            if inferences(mlp_url) > before + 50:
                break
        bench.send_signal(signal.SIGINT)
        out, err = bench.communicate(timeout=60)
    assert bench.returncode == 130
    assert "100/s" in out
    assert "Traceback" not in err
    (run,) = json.loads(file.read_text())["runs"]
    assert 0 < run["seconds"] < 100
    assert 0 < run["requests"]["ok"] <= run["requests"]["offered"]
    assert run["requests"]["offered"] == pytest.approx(100 * run["seconds"], rel=0.1, abs=2)


def inferences(url):
    from headgate.benchmarks.address import Address
    from headgate.benchmarks.model_calls import ModelCalls

    with ModelCalls(Address(url), "mlp") as calls:
        statistics = calls.statistics()
        assert isinstance(statistics, ModelStatistics)
        return statistics.inference_count


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing"], "no model 'nothing'"),
        (["lengths"], "--shape x=1"),
        (["lengths", "--shape", "x=3"], "no heads"),
        (["lengths", "--raw", "--shape", "y=3"], "--shape names 'y'"),
        (["mlp", "--input", "[[1, 2]]"], "[1,2], the model takes [batch,10]"),
        (["mlp", "--input", "[[1, 2]]", "--stream"], "INVALID_ARGUMENT"),
        (["mlp", "--plot", "x.gif"], ".png, .svg, .html"),
        (["mlp", "--url", "nonsense"], "give host:port"),
        (["mlp", "--url", "localhost:1"], "localhost:1: "),
        (["mlp", "--rate", "1e9"], "11,000,000,000 requests are more than"),
        (["mlp", "--connections", "9000", "--concurrency", "9000"], "9,000 connections are too many"),
        (["mlp", "--tls-ca", __file__], f"{__file__} cannot be used: "),
        (["mlp", "--tls-cert", "x.pem"], "give both --tls-cert and --tls-key"),
        (["mlp", "--tls-ca", "/nowhere/ca.pem"], "/nowhere/ca.pem: No such file or directory"),
    ],
)
def test_mistakes(refused, mlp_url, arguments, message):
    assert message in refused("bench", "--url", mlp_url, *arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--concurrency", "1,x"],
        ["--concurrency", "0"],
        ["--concurrency", "1.5"],
        ["--rate", ""],
        ["--rate", "inf"],
        ["--rate", "1", "--concurrency", "1"],
        ["--timeout", "5"],
        ["--max-rate-under-p99", "0ms"],
        ["--shape", "x"],
        ["--poisson"],
        ["--seconds", "0"],
        ["--seconds", "inf"],
        ["--warmup", "nan"],
        ["--json", "/nowhere/x.json"],
        ["--plot", "/nowhere/x.png"],
    ],
)
def test_wrong_usage(run, arguments):
    ended = run("bench", "mlp", *arguments)
    assert ended.code == 2
    assert "Traceback" not in ended.err


def test_server_that_ends(run, tmp_path, monkeypatch):
    """What was measured before is reported."""
    write_mlp(tmp_path / "models")
    file = tmp_path / "figures.json"
    with running("headgate.cli", "serve", str(tmp_path / "models"), "--port", "0") as server:

        @contextlib.contextmanager
        def kill_before_the_second(console, load):
            if load.concurrency == 2:
                os.kill(server.pid, signal.SIGKILL)
            yield

        monkeypatch.setattr("headgate.cli.bench._progress", kill_before_the_second)
        url = f"127.0.0.1:{server.port}"
        ended = run("bench", "mlp", "--url", url, *QUICK, "--concurrency", "1,2", "--json", file)
    assert ended.code == 1
    assert re.fullmatch(r"error: .+\n", ended.err)
    assert "1 in flight" in ended.out
    (measured,) = json.loads(file.read_text())["runs"]
    assert measured["requests"]["ok"] > 0


@pytest.mark.parametrize("library", ["hpack", "hdrh", "matplotlib"])
def test_missing_library(monkeypatch, refused, mlp_url, library):
    class Missing:
        @staticmethod
        def find_spec(name, path=None, target=None):
            if name == library:
                raise ModuleNotFoundError(f"No module named '{name}'", name=name)

    for name in list(sys.modules):
        if name.partition(".")[0] == library or name.startswith("headgate.benchmarks."):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Missing, *sys.meta_path])
    line = refused("bench", "mlp", "--url", mlp_url, "--plot", "x.png")
    assert line == f"error: this needs {library}, which is not installed: pip install 'headgate[bench]'\n"

"""Triton's perf_analyzer, as the environment's wheel carries it: `perf_analyzer.py <plan>`."""

import csv
import importlib.metadata
import os
import re
import sys
import sysconfig
import tempfile
from pathlib import Path

from checks import check, client, missing
from plan import read_plan
from programs import run

PROGRAM = Path(sys.executable).with_name("perf_analyzer")
#: Short measurements, of which three in a row count; how much their figures vary does not matter.
MEASUREMENT = ("-p", "300", "-s", "1000", "-r", "10", "--verbose-csv")
SERVER_COLUMNS = ("Server Queue", "Server Compute Input", "Server Compute Infer", "Server Compute Output")


def main(plan_path):
    client("perf_analyzer", importlib.metadata.version("tritonclient"))
    plan = read_plan(plan_path)
    # The dynamic linker reads it when the program starts.
    os.environ["LD_LIBRARY_PATH"] = f"{sysconfig.get_path('purelib')}/nvidia/cuda_runtime/lib"
    if not PROGRAM.is_file():
        missing("tritonclient's wheels for this platform do not carry it")
        return
    try:
        run([str(PROGRAM), "--version"])
    except AssertionError as error:
        if "shared libraries" not in str(error):
            raise
        missing(f"{error}; on Debian, libb64-0d has libb64.so.0d")
        return
    check_grpc(plan.grpc)
    check_tensorflow_serving(plan.grpc)
    check_http(plan.http)


def check_grpc(address):
    def measure(case, model, *options, loads=("--concurrency-range", "1:3:2"), rows=1):
        with check("-i grpc", case):
            _assert_measures("-u", address, "-i", "grpc", "-m", model, *loads, *options, rows=rows)

    measure("--concurrency-range 1:3:2", "fruit")
    measure("-b 8", "fruit", "-b", "8", rows=8)
    measure("--async", "fruit", "--async")
    measure("--streaming", "fruit", "--streaming")
    measure("--request-rate-range 50:100:50", "fruit", loads=("--request-rate-range", "50:100:50"))
    measure("--shared-memory system", "fruit", "--shared-memory", "system")
    measure("--shared-memory system -b 8", "fruit", "--shared-memory", "system", "-b", "8", rows=8)
    measure("--shared-memory system --streaming", "fruit", "--shared-memory", "system", "--streaming")
    measure("several inputs, text and numbers", "churn", "--string-length", "5")
    measure("--shape, free sizes", "identity_FP16", "--shape", "x:7")
    measure("--shape, text", "identity_BYTES", "--shape", "x:4", "--string-length", "16")
    measure("--grpc-compression-algorithm gzip", "fruit", "--grpc-compression-algorithm", "gzip")
    measure("-x 1", "fruit", "-x", "1")


def check_tensorflow_serving(address):
    for case, options, rows in (("-b 1", ["-b", "1"], 1), ("-b 8", ["-b", "8"], 8)):
        with check("--service-kind tfserving -i grpc", case):
            _assert_measures(
                *("-u", address, "-i", "grpc", "--service-kind", "tfserving", "-m", "fruit"),
                *("--concurrency-range", "1:3:2", *options),
                rows=rows,
                has_statistics=False,
            )


def check_http(address):
    for case, options in (
        ("--concurrency-range 1:3:2", []),
        ("--async", ["--async"]),
        ("--shared-memory system", ["--shared-memory", "system"]),
        ("several inputs, text and numbers", ["-m", "churn", "--string-length", "5"]),
    ):
        with check("-i http", case):
            model = [] if "-m" in options else ["-m", "fruit"]
            _assert_measures("-u", address, "-i", "http", *model, "--concurrency-range", "1:3:2", *options)


def _assert_measures(*options, rows=1, has_statistics=True):
    """Run it; expect no error, a line for each load, and figures of the server that fit the client's own."""
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder, "table.csv")
        report = run([str(PROGRAM), *MEASUREMENT, "-f", str(table), *options])
        lines = list(csv.DictReader(table.read_text().splitlines()))
    assert len(lines) == 2, f"{len(lines)} lines, expected 2: {lines}"
    for line in lines:
        assert float(line["Inferences/Second"]) > 0, line
        if "Request Rate" in line:
            assert float(line["Inferences/Second"]) > int(line["Request Rate"]) / 2, line
        if has_statistics:
            durations = [int(line[column]) for column in SERVER_COLUMNS]
            assert min(durations[1:]) > 0, line
            assert sum(durations) < 1.5 * int(line["Avg latency"]), line
    if has_statistics:
        sent = [int(count) * rows for count in re.findall(r"(?<!Successful) Request count: (\d+)", report)]
        counted = [int(count) for count in re.findall(r"Inference count: (\d+)", report)]
        assert len(sent) == len(counted) == 2, report
        for client_rows, server_rows in zip(sent, counted, strict=True):
            # The two are asked for one after the other while requests go on.
            assert abs(client_rows - server_rows) <= 0.2 * client_rows + 10 * rows, (client_rows, server_rows)


if __name__ == "__main__":
    main(*sys.argv[1:])

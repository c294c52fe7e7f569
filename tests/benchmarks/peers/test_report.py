import pytest

from headgate.benchmarks.load import Row, Sample
from headgate.benchmarks.machine import describe_machine
from headgate.benchmarks.peers.catalog import PEERS
from headgate.benchmarks.peers.measurement import ALONE, Outcome
from headgate.benchmarks.peers.report import write_report
from headgate.benchmarks.suite import Settings

MACHINE = describe_machine() | {"date": "2026-11-21T12:00:00+00:00", "cpu": "Intel(R) Xeon(R) Processor @ 2.80GHz"}


def sample(requests, cpu_us, load_busy=0.5):
    return Sample(requests, 10**9, int(requests * cpu_us * 1e3), int(load_busy * 1e9), 1500.0, 2500.0)


@pytest.fixture
def outcome():
    rows = []
    for call in ("mlp", "cnn"):
        for concurrency in (1, 16, 64):
            rows += [
                Row(ALONE, call, concurrency, [sample(9000, 10)] * 2),
                Row("headgate", call, concurrency, [sample(1000, 200), sample(3000, 100)]),
                Row("mosec", call, concurrency, [sample(500, 400, 0.95), sample(600, 300, 0.95)]),
            ]
    rows.sort(key=lambda row: (row.call == "cnn", row.server))
    return Outcome(rows, {"ray": "cannot be installed: no network"})


@pytest.fixture
def page(tmp_path, outcome):
    return write_report(tmp_path / "results", MACHINE, Settings(2.0, 2), PEERS, outcome)


def test_files_are_named_after_day_and_processor(page):
    assert page.name == "2026-11-21-intel-xeon-2.80ghz.md"
    assert page.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    assert f"]({page.stem}.png)" in page.read_text()


def test_tables_hold_medians_ranges_and_ratios(page):
    text = page.read_text()
    assert (
        text.count("| headgate | 1 | 2,000 | 1,000 to 3,000 | 1.50 | 2.50 | 150 | 100 to 200 | 1.00 | 25% | 50% |") == 2
    )
    # The ratio is the median of 400/200 and 300/100.
    assert "| Mosec | 1 | 550* | 500 to 600 | 1.50 | 2.50 | 350 | 300 to 400 | 2.50 | 19% | 95% |" in text
    assert (
        "| onnxruntime alone | 1 | 9,000 | 9,000 to 9,000 | 1.50 | 2.50 | 10.0 | 10.0 to 10.0 | 0.08 | 9% |  |" in text
    )
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in lines}) == 1


def test_says_what_failed_and_what_was_measured(page):
    text = page.read_text()
    assert "**Ray Serve could not be measured, or not to the end:** cannot be installed: no network" in text
    assert "2 rounds of 2 s a figure" in text
    assert "A Triton server with its own onnxruntime backend, in C++, is not on PyPI" in text
    for peer in PEERS:
        assert f"- **{peer.title}**, {peer.protocol}: {peer.settings}" in text
        assert all(version in text for version in peer.versions)


def test_headgate_need_not_be_among_them(tmp_path, outcome):
    rows = [row for row in outcome.rows if row.server != "headgate"]
    page = write_report(tmp_path, MACHINE, Settings(2.0, 2), PEERS, Outcome(rows))
    assert "| Mosec | 1 | 550* | 500 to 600 | 1.50 | 2.50 | 350 | 300 to 400 |  | 19% | 95% |" in page.read_text()

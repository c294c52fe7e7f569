import pytest

from headgate.benchmarks.pages import slug


@pytest.mark.parametrize(
    ("cpu", "name"),
    [
        ("AMD EPYC 7763 64-Core Processor", "amd-epyc-7763-64-core"),
        ("Intel(R) Core(TM) i7-8700 CPU @ 3.20GHz", "intel-core-i7-8700-3.20ghz"),
        ("x86_64", "x86-64"),
    ],
)
def test_slug(cpu, name):
    assert slug(cpu) == name

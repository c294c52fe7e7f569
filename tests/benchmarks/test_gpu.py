"""The GPU benchmark, on the processor; and what it says where there is no device."""

import pytest

from headgate.benchmarks import gpu
from headgate.benchmarks.cuda_devices import cuda_devices
from headgate.benchmarks.errors import BenchmarkError


def test_rows_of_the_table():
    rows = gpu.measure("CPUExecutionProvider", (1, 2), 0)
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    assert [row[:2] for row in cells] == [["mlp", "1"], ["mlp", "2"], ["cnn", "1"], ["cnn", "2"]]
    for _, _, alone, unbound, bound, graphs, call, ratio in cells:
        assert min(int(cell.replace(",", "")) for cell in (alone, unbound, bound, call)) > 0
        assert graphs == ""
        assert float(ratio) > 0


@pytest.mark.skipif(bool(cuda_devices()), reason="there is a CUDA device")
def test_without_a_device():
    with pytest.raises(BenchmarkError, match="no CUDA device; this needs a machine with an NVIDIA driver"):
        gpu.main()

import json
import subprocess
import sys

import pytest


@pytest.mark.benchmark
def test_a_quick_run(tmp_path):
    file = tmp_path / "figures.json"
    command = [sys.executable, "-m", "headgate.benchmarks.limits", "--seconds", "0.3", "--repeat", "1", "--json", file]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    limits = json.loads(file.read_text())["limits"]
    assert [limit["name"].partition(":")[0] for limit in limits] == [
        "CNN, 64 in flight",
        *["256 rows of the MLP"] * 2,
        *["256 rows of the CNN"] * 2,
    ]
    for limit in limits:
        assert len(limit["ratios"]) == len(limit["figures"]) > 0
        # Neither a server that does not answer nor one that does the work of several.
        assert all(0.01 < ratio < 100 for ratio in limit["ratios"])

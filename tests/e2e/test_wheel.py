"""The wheel, in an environment that has nothing else."""

import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from headgate.benchmarks.models import write_mlp

ROOT = Path(__file__).parents[2]


def run(*command, cwd):
    done = subprocess.run([str(part) for part in command], cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_wheel_serves_in_an_empty_environment(tmp_path):
    # Through the source distribution, so that nothing left in build/ gets in.
    run(sys.executable, "-m", "build", "--outdir", tmp_path / "dist", ROOT, cwd=tmp_path)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    venv.create(tmp_path / "venv", with_pip=True)
    bin_folder = tmp_path / "venv" / "bin"
    run(
        bin_folder / "pip",
        "install",
        "--quiet",
        "--constraint",
        ROOT / "constraints.txt",
        f"{wheel}[cpu]",
        cwd=tmp_path,
    )
    write_mlp(tmp_path / "models")
    command = [bin_folder / "headgate", "serve", tmp_path / "models", "--port", "0"]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True) as server:
        try:
            ready = next(line for line in server.stdout if line.startswith("ready"))
            address = ready.split()[-1]
            ten_numbers = "[[" + ",".join(["1"] * 10) + "]]"
            answer = run(
                bin_folder / "headgate",
                "predict",
                "mlp",
                "--url",
                address,
                "--input",
                ten_numbers,
                "--json",
                cwd=tmp_path,
            )
            assert '"label"' in answer
            assert run(bin_folder / "headgate", "inspect", tmp_path / "models" / "mlp", cwd=tmp_path)
        finally:
            server.terminate()
    assert server.returncode == 0
    site_packages = run(bin_folder / "python", "-c", "import headgate.server as s; print(s.__file__)", cwd=tmp_path)
    assert "site-packages/headgate/server" in site_packages
    top_level = {
        path.name for path in next((tmp_path / "venv" / "lib").glob("python*")).joinpath("site-packages").iterdir()
    }
    assert not top_level & {"server", "proto", "client", "cli", "decoders", "exporter", "benchmarks", "tests"}

import shutil
import subprocess
from pathlib import Path

import pytest

pytestmark = [pytest.mark.polyglot, pytest.mark.timeout(1500)]
ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "examples" / "clients" / "cpp"
#: Kept, so that what did not change is not built again.
BUILD = ROOT / "build" / "polyglot" / "cpp"


@pytest.fixture(scope="module")
def client(build_client):
    installed = subprocess.run([SOURCE / "install.sh"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if installed.returncode != 0:
        pytest.skip(f"gRPC for C++ is not installed and cannot be: {installed.stdout.splitlines()[-1]}")
    build_client(
        "cpp",
        # The protoc of the installed libprotobuf; the harness has another.
        ["cmake", "-S", SOURCE, "-B", BUILD, f"-DProtobuf_PROTOC_EXECUTABLE={shutil.which('protoc')}"],
        ["cmake", "--build", BUILD, "--parallel", "2"],
    )
    return [BUILD / "predict"]


def test_client(client, check_client):
    check_client(client)

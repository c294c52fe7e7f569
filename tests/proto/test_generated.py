"""The generated code that is committed is what the .proto files make."""

import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GENERATED = ("*_pb2.py", "*_pb2.pyi", "*_pb2_grpc.py", "*.binpb")


def generated_files(proto):
    return {str(path.relative_to(proto)): path.read_bytes() for pattern in GENERATED for path in proto.rglob(pattern)}


def pinned_generator():
    dev = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["dev"]
    return next(line.removeprefix("grpcio-tools==") for line in dev if line.startswith("grpcio-tools=="))


def installed_generator():
    try:
        return version("grpcio-tools")
    except PackageNotFoundError:
        return "none"


@pytest.mark.skipif(
    installed_generator() != pinned_generator(),
    reason=f"needs grpcio-tools {pinned_generator()}, installed: {installed_generator()}",
)
def test_make_proto_changes_nothing(tmp_path):
    shutil.copy(ROOT / "Makefile", tmp_path)
    shutil.copytree(ROOT / "proto", tmp_path / "proto", ignore=shutil.ignore_patterns(*GENERATED, "__pycache__"))
    # `-o` keeps make from installing anything: the environment that runs the tests is the one to generate with.
    command = ["make", "proto", f"VENV={sys.prefix}", "-o", f"{sys.prefix}/.installed"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    made, committed = generated_files(tmp_path / "proto"), generated_files(ROOT / "proto")
    assert made.keys() == committed.keys()
    stale = [name for name in made if made[name] != committed[name]]
    assert not stale, "run `make proto`"

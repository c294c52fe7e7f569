"""Virtual environments for the peers, made when they are missing."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from headgate.benchmarks.errors import BenchmarkError

FOLDER = Path(__file__).parent


def python_of(name: str, cache: Path) -> Path:
    """Return the interpreter of a peer's environment; it is there after `ensure`."""
    return cache.absolute() / name / "bin" / "python"


def ensure(name: str, cache: Path, interpreter: str = sys.executable) -> None:
    """Make a peer's environment in a folder, unless one is there that was made from the same requirements.

    Args:
        name: of the peer, and of the folder here that holds its requirements.txt.
        cache: where environments are kept.
        interpreter: the Python to make it from.

    Raises:
        BenchmarkError: it cannot be made; the message says why.
    """
    requirements = FOLDER / name / "requirements.txt"
    python = python_of(name, cache)
    installed = cache / name / "installed.txt"
    if installed.is_file() and installed.read_bytes() == requirements.read_bytes():
        return
    _run([interpreter, "-m", "venv", "--clear", str(cache / name)])
    _run([str(python), "-m", "pip", "install", "--quiet", "--requirement", str(requirements)])
    shutil.copyfile(requirements, installed)


def versions(name: str) -> list[str]:
    """Return the requirements that a peer's file names first: itself, and what matters for its speed."""
    first, _, _ = (FOLDER / name / "requirements.txt").read_text().partition("\n\n")
    return first.split()


def _run(command: Sequence[str]) -> None:
    try:
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    except OSError as error:
        raise BenchmarkError(f"cannot be installed: {error}") from error
    except subprocess.CalledProcessError as error:
        lines = (error.stderr or error.stdout).splitlines()
        reasons = [line for line in lines if line.startswith("ERROR: ")] or lines or ["no reason given"]
        raise BenchmarkError(f"cannot be installed: {reasons[0].removeprefix('ERROR: ')}") from error

"""Where figures come from: the machine, its load, and the versions of what was measured."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from headgate.benchmarks.processors import split_processors

_PACKAGES = ("headgate", "grpcio", "numpy", "onnx", "onnxruntime", "protobuf")


def describe_machine() -> dict[str, Any]:
    """Return facts about this machine, ready for JSON."""
    server, load = split_processors()
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": _cpu_model(),
        "processors": os.cpu_count(),
        "server_processors": sorted(server),
        "load_processors": sorted(load),
        "load_average_1min": round(os.getloadavg()[0], 2),
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": {package: version(package) for package in _PACKAGES},
    }


def hardware(machine: dict[str, Any]) -> str:
    """Write in one line what a machine is, and how busy it was."""
    return f"{machine['cpu']}, {machine['processors']} processors, load average {machine['load_average_1min']}"


def software(machine: dict[str, Any]) -> str:
    """Write in one line what runs on it."""
    versions = ", ".join(f"{package} {version}" for package, version in machine["versions"].items())
    return f"Python {machine['python']}, {versions}"


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.machine()

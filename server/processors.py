"""How many processors this process may really use."""

import math
import os
from collections.abc import Iterator
from pathlib import Path


def available_processors(cgroups: Path = Path("/sys/fs/cgroup"), membership: Path = Path("/proc/self/cgroup")) -> int:
    """Return the processors of the affinity mask, capped by the CPU quotas of the process's cgroups; at least 1."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quotas = [_quota(folder) for folder in _cgroups(cgroups, membership)]
    return max(1, math.ceil(min(count, *quotas)))


def _cgroups(root: Path, membership: Path) -> Iterator[Path]:
    """Go through the folders whose quotas hold for this process: those it is in, and all around them."""
    yield root
    yield root / "cpu"
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        # "0::/path" for version 2, "4:cpu,cpuacct:/path" for the controller of version 1.
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        # In a container the path may be the host's, which is not to be seen here: then only the root counts.
        folder = (root / "cpu" if controllers else root) / path.strip("/")
        while folder != root and ".." not in folder.parts:
            yield folder
            folder = folder.parent


def _quota(cgroup: Path) -> float:
    """Return the processors that a cgroup allows: version 2, else 1."""
    try:
        quota, period = (cgroup / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            quota = (cgroup / "cpu.cfs_quota_us").read_text().strip()
            period = (cgroup / "cpu.cfs_period_us").read_text().strip()
        except OSError:
            return math.inf
    return math.inf if quota in {"max", "-1"} else int(quota) / int(period)

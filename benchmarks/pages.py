"""Pages of figures that are kept: `benchmarks/results/<date>-<processor>-<subject>.md`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from headgate.benchmarks.errors import BenchmarkError

FOLDER = Path("benchmarks/results")


def check_folder() -> None:
    """Raise BenchmarkError where the folder is not there."""
    if not FOLDER.is_dir():
        raise BenchmarkError(f"there is no folder {FOLDER} here; run from the root of headgate's repository")


def write(machine: dict[str, Any], subject: str, page: str) -> None:
    """Write a page, and say where."""
    file = FOLDER / f"{day_and_processor(machine)}-{subject}.md"
    file.write_text(page)
    print(f"wrote {file}")


def day_and_processor(machine: dict[str, Any]) -> str:
    """Return how the names of files begin that hold what was measured on a machine."""
    return f"{machine['date'][:10]}-{slug(machine['cpu'])}"


def slug(device: str) -> str:
    """Return the name of a processor or device as it may stand in a file's.

    >>> slug("Intel(R) Xeon(R) Processor @ 2.80GHz")
    'intel-xeon-2.80ghz'
    """
    words = re.sub(r"\((R|TM)\)|\b(Processor|CPU)\b|@", " ", device, flags=re.IGNORECASE)
    return "-".join(re.findall(r"[a-z0-9.]+", words.lower()))

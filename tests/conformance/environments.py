"""What clients need to run: virtual environments and Go programs, made when they are missing."""

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path


class MissingError(Exception):
    """A client cannot be had here; the message says why in one line."""


@dataclass(frozen=True)
class PythonEnvironment:
    """A virtual environment.

    Attributes:
        name: of its folder.
        requirements: as pip takes them.
        alone: more of them, that are installed without what they depend on.
    """

    name: str
    requirements: tuple[str, ...]
    alone: tuple[str, ...] = ()

    def ensure(self, cache):
        """Make it in a folder unless it is there, made from the same; return its interpreter.

        Raises:
            MissingError: it cannot be made.
        """
        folder = cache.absolute() / self.name
        python = folder / "bin" / "python"
        made_from = repr((sys.version_info[:2], self.requirements, self.alone))
        mark = folder / "made-from.txt"
        if not (mark.is_file() and mark.read_text() == made_from):
            _run([sys.executable, "-m", "venv", "--clear", str(folder)])
            _run([str(python), "-m", "pip", "install", "--quiet", *self.requirements])
            if self.alone:
                _run([str(python), "-m", "pip", "install", "--quiet", "--no-deps", *self.alone])
            mark.write_text(made_from)
        return python


@dataclass(frozen=True)
class GoProgram:
    """A program of a Go module.

    Attributes:
        module: as Go names it.
        version: of the module, "v1.2.3".
        package: the folder of the program in the module; "" for its root.
    """

    module: str
    version: str
    package: str = ""

    def ensure(self, cache):
        """Build it in a folder unless it is there; return its path.

        Raises:
            MissingError: Go is not installed, or it cannot be built.
        """
        path = f"{self.module}/{self.package}".rstrip("/")
        program = cache.absolute() / "bin" / f"{path.rpartition('/')[2]}-{self.version}"
        if not program.is_file():
            if shutil.which("go") is None:
                raise MissingError("Go is not installed")
            # A module of its own that requires this one only is what `go install` builds too, which in addition asks
            # the proxy for all versions of the module.
            folder = cache.absolute() / "go" / program.name
            folder.mkdir(parents=True, exist_ok=True)
            folder.joinpath("go.mod").write_text(
                f"module conformance\n\ngo 1.24\n\nrequire {self.module} {self.version}\n"
            )
            _run(["go", "build", "-mod=mod", "-o", str(program), path], cwd=folder)
        return program


def _run(command, **options):
    try:
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL, capture_output=True, text=True, **options)
    except OSError as error:
        raise MissingError(f"{command[0]}: {error.strerror}") from error
    except subprocess.CalledProcessError as error:
        lines = (error.stderr or error.stdout).splitlines() or ["no reason given"]
        reasons = [line for line in lines if line.startswith("ERROR: ")] or lines[-1:]
        raise MissingError(f"{Path(command[0]).name}: {reasons[0].removeprefix('ERROR: ')}") from error

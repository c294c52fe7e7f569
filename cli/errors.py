"""Which exceptions are the user's to mend, and what to tell them."""

import sys

#: Modules and their exceptions whose messages are written for users.
_MISTAKES = (
    ("headgate.benchmarks.errors", "BenchmarkError"),
    ("headgate.cli.errors", "CommandError"),
    ("headgate.client.errors", "HeadgateError"),
    ("headgate.exporter.errors", "ExportError"),
    ("headgate.server.errors", "ServerError"),
)
#: What to install for a module that a command needs.
_EXTRAS = {
    "hdrh": "bench",
    "hpack": "bench",
    "matplotlib": "bench",
    "sklearn": "evaluate",
    "onnxruntime": "cpu",
    "keras": "export,tensorflow",
    "tensorflow": "export,tensorflow",
    "tf2onnx": "export,tensorflow",
    "onnx": "export,tensorflow",
}


class CommandError(Exception):
    """What was asked for cannot be done; the message says why, in one line."""


def describe_mistake(error: Exception) -> str | None:
    """Return what to tell the user about an exception, in one line; None if it is a bug.

    >>> describe_mistake(FileNotFoundError(2, "No such file or directory", "iris.keras"))
    'iris.keras: No such file or directory'
    >>> describe_mistake(KeyError("iris")) is None
    True
    """
    if isinstance(error, _user_exceptions()):
        return " ".join(str(error).split())
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    if isinstance(error, ModuleNotFoundError) and error.name in _EXTRAS:
        return f"this needs {error.name}, which is not installed: pip install 'headgate[{_EXTRAS[error.name]}]'"
    return None


def _user_exceptions() -> tuple[type[Exception], ...]:
    # An exception can only have been raised if its module was loaded: nothing is imported to find out.
    return tuple(getattr(sys.modules[module], name) for module, name in _MISTAKES if module in sys.modules)

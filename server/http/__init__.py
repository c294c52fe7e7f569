"""HTTP in front of the gRPC server: a process of its own, which is one of the server's clients.

`python -m headgate.server.http` runs it, as a `headgate.server.supervisor` starts it. No other part of the server may
import it, but for this module; it may import `headgate.client`.
"""

from importlib.util import find_spec

from headgate.server.errors import StartupError

_PACKAGES = ("fastapi", "fastapi_offline", "httptools", "prometheus_client", "uvicorn", "uvloop")


def require_packages() -> None:
    """Make sure that what HTTP needs is installed.

    Raises:
        StartupError: a package is missing.
    """
    missing = [package for package in _PACKAGES if find_spec(package) is None]
    if missing:
        raise StartupError(f"HTTP needs {missing[0]}, which is not installed: pip install 'headgate[http]'")

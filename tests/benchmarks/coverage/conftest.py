import pytest

from headgate.exporter.libraries import quiet, require_libraries, silent_tensorflow

require_libraries()


@pytest.fixture(autouse=True)
def _quiet_tensorflow():
    """What the libraries deprecate among themselves is not ours to fail on."""
    with quiet(), silent_tensorflow():
        yield

import doctest
import importlib
import pkgutil
import tomllib
from importlib.util import find_spec
from pathlib import Path

import pytest

PYPROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())


def module_names():
    """All modules but the generated ones, found through the list of packages: their folders have other names."""
    packages = PYPROJECT["tool"]["setuptools"]["packages"]
    folders = {package: find_spec(package).submodule_search_locations for package in packages}
    modules = [
        f"{package}.{module.name}"
        for package, folder in folders.items()
        for module in pkgutil.iter_modules(folder)
        if not module.ispkg and "_pb2" not in module.name and module.name != "__main__"
    ]
    return packages + modules


@pytest.mark.parametrize("name", module_names())
def test_examples_in_docstrings_run(name):
    assert doctest.testmod(importlib.import_module(name)).failed == 0

"""Model folders on disk."""

import os
import shutil

import pytest

from headgate.server.config import ModelConfig
from headgate.server.errors import StartupError
from headgate.server.model_folder import find_models, read_model_folder


@pytest.fixture
def folder(tmp_path, write_model):
    for version in (2, 10):
        write_model(tmp_path, "price", version=version)
    write_model(tmp_path, "iris")
    (tmp_path / "iris" / "2").mkdir()
    (tmp_path / "iris" / "03").mkdir()
    (tmp_path / "iris" / "9999999999999999999999").mkdir()
    (tmp_path / "iris" / "notes").mkdir()
    (tmp_path / ".git" / "1").mkdir(parents=True)
    (tmp_path / "empty").mkdir()
    for name in ("line\nbreak", os.fsdecode(b"\xff")):
        shutil.copytree(tmp_path / "price", tmp_path / name)
    (tmp_path / "README.md").write_text("models")
    return tmp_path


def served(folder, config=""):
    (folder / "price" / "config.toml").write_text(config)
    return read_model_folder(folder / "price", ModelConfig()).served


def test_folders_with_a_version_are_models(folder):
    assert [path.name for path in find_models(folder)] == ["iris", "price"]
    assert read_model_folder(folder / "iris", ModelConfig()).served == (1,)


def test_versions_that_are_served(folder):
    assert served(folder) == (10,)
    assert served(folder, "[versions]\nlatest = 5") == (2, 10)
    assert served(folder, "[versions]\nall = true") == (2, 10)
    assert served(folder, "[versions]\nspecific = [2]") == (2,)
    assert served(folder, "[versions.labels]\nstable = 2") == (2, 10)
    assert served(folder, "[versions]\nspecific = [2]\nlabels = {new = 10}") == (2, 10)


@pytest.mark.parametrize(
    ("versions", "message"),
    [
        ("specific = [2, 3]", "versions asks for 3; .* has 2, 10"),
        ("labels = {stable = 4}", "versions asks for 4"),
        ("specific = []", "versions.specific: List should have at least 1 item"),
        ("latest = 0", "versions.latest: Input should be greater than or equal to 1"),
        ("latest = 1\nall = true", "latest and all exclude one another"),
        ("labels = {'' = 2}", "versions.labels"),
        ("newest = 1", "versions.newest: there is no such entry"),
    ],
)
def test_wrong_versions(folder, versions, message):
    with pytest.raises(StartupError, match=message):
        served(folder, f"[versions]\n{versions}\n")


def test_fingerprint_changes_with_what_a_version_is_made_of(folder):
    def fingerprint(config=""):
        (folder / "price" / "config.toml").write_text(config)
        return read_model_folder(folder / "price", ModelConfig()).fingerprint(2)

    first = fingerprint()
    assert fingerprint("[versions.labels]\nstable = 2") == first, "it is the same model under any label"
    assert fingerprint("[batching]\nmax_batch_size = 5") != first
    (folder / "price" / "2" / "model.onnx").chmod(0)
    second = fingerprint()
    (folder / "price" / "2" / "golden.binpb").write_bytes(b"1")
    assert first != second != fingerprint()


def test_what_cannot_be_read(folder):
    for name in ("price", "lost+found"):
        shutil.rmtree(folder / name, ignore_errors=True)
        (folder / name).symlink_to(name)
    assert [path.name for path in find_models(folder)] == ["iris", "price"]
    with pytest.raises(StartupError, match=f"{folder}/price cannot be read: Too many levels of symbolic links"):
        read_model_folder(folder / "price", ModelConfig())
    with pytest.raises(StartupError, match=f"{folder}/price cannot be read: Too many levels of symbolic links"):
        find_models(folder / "price")


@pytest.mark.parametrize(("name", "message"), [("nothing", "there is no folder {}"), ("file", "{} is no folder")])
def test_no_folder(tmp_path, name, message):
    (tmp_path / "file").write_text("")
    with pytest.raises(StartupError, match=message.format(tmp_path / name)):
        find_models(tmp_path / name)


def test_wrong_config(folder):
    with pytest.raises(StartupError, match=r"config.toml: batching.size: there is no such entry"):
        served(folder, "[batching]\nsize = 1\n")

"""Model repositories on disk."""

import pytest

from headgate.server import ModelConfig, StartupError
from headgate.server.errors import NotFoundError, UnavailableError
from headgate.server.repository import ModelRepository, ModelState

CPU = "CPUExecutionProvider"


def open_repository(folder):
    return ModelRepository(folder, ModelConfig())


@pytest.fixture
def folder(tmp_path, write_model):
    write_model(tmp_path, "price", version=2)
    write_model(tmp_path, "price", version=10, config="[batching]\nmax_batch_size = 3\n")
    write_model(tmp_path, "iris")
    (tmp_path / "iris" / "2").mkdir()
    (tmp_path / "iris" / "03").mkdir()
    (tmp_path / "iris" / "notes").mkdir()
    (tmp_path / ".git" / "1").mkdir(parents=True)
    (tmp_path / "empty").mkdir()
    (tmp_path / "README.md").write_text("models")
    return tmp_path


def test_latest_version_with_a_model_is_found(folder):
    entries = {entry.name: entry for entry in open_repository(folder)}
    assert {name: entry.version for name, entry in entries.items()} == {"iris": 1, "price": 10}
    assert entries["price"].config.batching.max_batch_size == 3
    assert all(entry.state is ModelState.LOADING and entry.model is None for entry in entries.values())


def test_loading(folder):
    repository = open_repository(folder)
    with pytest.raises(UnavailableError, match="model 'iris' is still loading; try again soon"):
        repository.model("iris")
    for entry in repository:
        assert not repository.is_ready
        assert repository.load(entry, CPU, False) is entry.model
    assert repository.is_ready
    assert repository.model("iris").name == "iris"
    assert repository.model("price", 10).version == 10
    repository.close()


def test_what_there_is_not(folder):
    repository = open_repository(folder)
    with pytest.raises(NotFoundError, match="there is no model 'rose'; this server has 'iris', 'price'"):
        repository.entry("rose")
    for version in (1, -1, 2**62):
        with pytest.raises(NotFoundError, match=f"model 'price' has no version {version} on this server"):
            repository.entry("price", version)


def test_model_that_cannot_be_loaded_says_why(folder):
    folder.joinpath("price", "10", "model.onnx").write_bytes(b"no onnx")
    repository = open_repository(folder)
    with pytest.raises(StartupError, match="cannot be loaded by onnxruntime"):
        repository.load(repository.entry("price"), CPU, False)
    entry = repository.entry("price")
    assert entry.state is ModelState.UNAVAILABLE
    assert "cannot be loaded" in entry.reason
    with pytest.raises(UnavailableError, match=r"model 'price' is unavailable: .* cannot be loaded"):
        repository.model("price")
    repository.close()


def test_folder_without_models(tmp_path):
    (tmp_path / "iris" / "1").mkdir(parents=True)
    with pytest.raises(StartupError, match=r"holds no model at <model>/<version>/model\.onnx"):
        open_repository(tmp_path)


@pytest.mark.parametrize("name", ["nothing", "file"])
def test_no_folder(tmp_path, name):
    (tmp_path / "file").write_text("")
    with pytest.raises(StartupError, match=f"there is no folder {tmp_path / name}"):
        open_repository(tmp_path / name)


def test_wrong_config(folder):
    folder.joinpath("iris", "config.toml").write_text("[batching]\nsize = 1\n")
    with pytest.raises(StartupError, match=r"config.toml: batching.size: Extra inputs"):
        open_repository(folder)

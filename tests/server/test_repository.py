"""What a server knows of its models."""

import threading
from functools import partial
from itertools import chain, repeat

import pytest

from headgate.foreign import open_inference as oip
from headgate.server.config import ModelConfig
from headgate.server.dialects.headgate_v1 import HeadgateDialect
from headgate.server.dialects.open_inference import OpenInferenceDialect
from headgate.server.errors import ModelClosedError, NotFoundError, StartupError, UnavailableError
from headgate.server.model_folder import read_model_folder
from headgate.server.repository import ModelEntry, ModelRepository, ModelState
from headgate.server.transport import Remaining

from .fakes import FakeCall

CPU = "CPUExecutionProvider"


@pytest.fixture
def repository(tmp_path, write_model):
    """Models `iris` 1 and `price` 2 and 10, of which nothing is loaded."""
    write_model(tmp_path, "price", version=2)
    write_model(tmp_path, "price", version=10, config="[versions]\nall = true\n[batching]\nmax_batch_size = 3\n")
    write_model(tmp_path, "iris")
    repository = ModelRepository()
    for name in ("price", "iris"):
        folder = read_model_folder(tmp_path / name, ModelConfig())
        for version in folder.served:
            repository.add(ModelEntry(name, version, folder.path / str(version), folder.config))
    yield repository
    repository.close()


def load_all(repository):
    for entry in list(repository):
        repository.load(entry, CPU)


def test_loading(repository):
    assert [(entry.name, entry.version) for entry in repository] == [("iris", 1), ("price", 2), ("price", 10)]
    with pytest.raises(UnavailableError, match="model 'iris' is still loading; try again soon"):
        repository.model("iris")
    for entry in list(repository):
        assert entry.state is ModelState.LOADING
        assert repository.load(entry, CPU) is entry.model
    assert repository.model("iris").name == "iris"
    assert repository.model("price", 10).config.batching.max_batch_size == 3


def test_who_finds_a_model_finds_it_being_run(repository, monkeypatch):
    replaced = repository._replace

    def replace(name, versions):
        models = [entry.model for entry in versions.values() if entry.model is not None]
        assert {model.scheduler for model in models} <= set(repository._schedulers)
        replaced(name, versions)

    monkeypatch.setattr(repository, "_replace", replace)
    load_all(repository)
    load_all(repository)
    assert len(repository._schedulers) == 3


class LeavingEntry(ModelEntry):
    """Is unloaded by another thread as soon as somebody has found its model."""

    @property
    def model(self):
        return next(self._found)

    @model.setter
    def model(self, model):
        self._found = chain([model], repeat(None))


@pytest.mark.parametrize(
    ("dialect", "path"),
    [
        (HeadgateDialect, "/headgate.v1.PredictionService/ListModels"),
        (HeadgateDialect, "/headgate.v1.PredictionService/GetStatistics"),
        (partial(OpenInferenceDialect, server_version="1"), "/inference.GRPCInferenceService/ModelStatistics"),
        (partial(OpenInferenceDialect, server_version="1"), "/inference.GRPCInferenceService/ModelConfig"),
    ],
)
def test_who_finds_a_model_keeps_it_while_it_is_unloaded(repository, monkeypatch, dialect, path):
    load_all(repository)
    entry = repository.entry("price")
    leaving = LeavingEntry("price", entry.version, entry.path, entry.config, state=ModelState.READY)
    leaving.model = entry.model
    monkeypatch.setitem(repository._entries["price"], entry.version, leaving)
    call = FakeCall()
    call.request = oip.ModelConfigRequest(name="price").SerializeToString() if path.endswith("ModelConfig") else b""
    dialect(repository).methods()[path].take(call)
    assert b"price" in call.result()


class FakeScheduler:
    """Is saturated, or not, each time that it is asked; the last answer stays."""

    def __init__(self, *answers, is_unused=False, remaining=Remaining.NOTHING):
        self._answers = chain(answers, repeat(answers[-1]))
        self.is_unused = is_unused
        self._remaining = remaining

    def run_ready(self):
        return self._remaining

    @property
    def is_saturated(self):
        return next(self._answers)


@pytest.mark.parametrize("most", Remaining)
def test_most_that_a_model_has_left_to_do_counts(most):
    repository = ModelRepository()
    assert repository.run_ready() is Remaining.NOTHING
    each = Remaining.NOTHING, most, Remaining.NOTHING
    repository._schedulers = [FakeScheduler(False, remaining=remaining) for remaining in each]
    assert repository.run_ready() is most


class TestRest:
    @pytest.fixture
    def rests(self, monkeypatch):
        """Return the rests of the I/O thread that finds these schedulers: whether the end of a batch ended each."""

        def rests(*schedulers, on_rest=lambda batch_ended: None):
            repository = ModelRepository()
            repository._schedulers = schedulers
            batch_ended = repository._batch_ended
            # By the batch before.
            batch_ended.set()
            rests = []

            def wait(seconds):
                on_rest(batch_ended)
                rests.append(threading.Event.wait(batch_ended, seconds))

            monkeypatch.setattr(batch_ended, "wait", wait)
            assert repository.run_ready() is Remaining.NOTHING
            return rests

        return rests

    def test_until_a_batch_has_ended(self, rests, monkeypatch):
        monkeypatch.setattr("headgate.server.repository._LONGEST_REST_S", 60)
        saturated = FakeScheduler(True), FakeScheduler(True)
        assert rests(*saturated, on_rest=lambda batch_ended: threading.Timer(0.01, batch_ended.set).start()) == [True]

    def test_no_longer_than_a_moment(self, rests):
        assert rests(FakeScheduler(True)) == [False]

    def test_not_where_something_could_begin(self, rests):
        assert rests() == []
        assert rests(FakeScheduler(True), FakeScheduler(False)) == []

    def test_unused_models_are_not_waited_for(self, rests):
        unused = FakeScheduler(False, is_unused=True)
        assert rests(unused, unused) == []
        assert rests(FakeScheduler(True), unused) == [False]

    def test_not_for_a_batch_that_ended_meanwhile(self, rests):
        assert rests(FakeScheduler(True, False)) == []


def test_no_version_means_the_latest_that_is_ready(repository):
    older, newer = repository.versions("price")
    assert repository.entry("price") is newer
    repository.load(older, CPU)
    assert repository.model("price").version == 2
    repository.load(newer, CPU)
    assert repository.model("price").version == 10
    assert repository.model("price", 2).version == 2


def test_labels(repository):
    load_all(repository)
    repository.set_labels("price", {"stable": 2, "canary": 10})
    assert repository.model("price", label="stable").version == 2
    with pytest.raises(NotFoundError, match="no version with the label 'best'; its labels: 'stable', 'canary'"):
        repository.entry("price", label="best")
    with pytest.raises(NotFoundError, match="no version 3"):
        repository.set_labels("price", {"stable": 3})
    assert repository.labels("price") == {"stable": 2, "canary": 10}
    assert repository.labels("iris") == {}


def test_what_there_is_not(repository):
    with pytest.raises(NotFoundError, match="there is no model 'rose'; this server has 'iris', 'price'"):
        repository.entry("rose")
    for version in (1, -1, 2**62):
        with pytest.raises(NotFoundError, match=f"model 'price' has no version {version} on this server; it serves"):
            repository.entry("price", version)


def test_model_that_cannot_be_loaded_says_why(repository):
    entry = repository.entry("iris")
    (entry.path / "model.onnx").write_bytes(b"no onnx")
    with pytest.raises(StartupError, match="cannot be loaded by onnxruntime"):
        repository.load(entry, CPU)
    assert entry.state is ModelState.UNAVAILABLE
    assert "cannot be loaded" in entry.reason
    with pytest.raises(UnavailableError, match=r"model 'iris' is unavailable: .* cannot be loaded"):
        repository.model("iris")


def test_a_version_takes_the_place_of_itself(repository):
    load_all(repository)
    before = repository.entry("iris")
    closed = before.model
    again = ModelEntry("iris", 1, before.path, before.config)
    assert repository.load(again, CPU) is repository.model("iris") is not closed
    with pytest.raises(ModelClosedError, match="model 'iris' version 1 was unloaded; try again"):
        closed.submit(None)


def test_what_was_served_goes_on_when_its_new_form_fails(repository):
    load_all(repository)
    before = repository.entry("iris")
    (before.path / "model.onnx").write_bytes(b"no onnx")
    with pytest.raises(StartupError):
        repository.load(ModelEntry("iris", 1, before.path, before.config, (("model.onnx", 1, 1),)), CPU)
    assert repository.entry("iris") is before
    assert before.state is ModelState.READY
    assert "cannot be loaded" in before.reason
    assert before.fingerprint == (("model.onnx", 1, 1),)


def test_unloading(repository):
    load_all(repository)
    entry = repository.entry("iris")
    repository.unload(entry)
    repository.unload(entry)
    assert entry.state is ModelState.UNLOADED
    with pytest.raises(UnavailableError, match="model 'iris' is not loaded"):
        repository.model("iris")
    repository.load(entry, CPU)
    assert repository.model("iris")


def test_dropping(repository):
    load_all(repository)
    older, newer = repository.versions("price")
    model = newer.model
    repository.drop(newer)
    assert repository.versions("price") == [older]
    with pytest.raises(ModelClosedError):
        model.submit(None)
    repository.drop(older)
    with pytest.raises(NotFoundError, match="this server has 'iris'"):
        repository.versions("price")


def test_every_change_is_a_generation(repository):
    generations = [repository.generation]

    def has_changed():
        generations.append(repository.generation)
        return generations[-1] > generations[-2]

    iris = repository.entry("iris")
    load_all(repository)
    assert has_changed()
    repository.set_labels("price", {"stable": 2})
    assert has_changed()
    repository.unload(iris)
    assert has_changed()
    repository.drop(iris)
    assert has_changed()
    repository.model("price")
    assert not has_changed()

"""Which models are loaded, and when: at the start, as the repository changes, or when a client says so."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from headgate.server.config import ModelConfig, ModelControlMode
from headgate.server.errors import FailedPreconditionError, NotFoundError, StartupError, UnavailableError
from headgate.server.model import LoadedModel
from headgate.server.model_folder import ModelFolder, find_models, holds_versions, read_model_folder
from headgate.server.repository import ModelEntry, ModelRepository, ModelState
from headgate.server.transport import Call, Method
from headgate.server.workers import first_answer

_log = logging.getLogger(__name__)

#: Loads an entry of the repository, see `ModelRepository.load`.
Load = Callable[[ModelEntry], LoadedModel]
#: Instead of names: all models.
ALL_MODELS = "*"


class ModelControl:
    """Loads and unloads the models of a repository, on a thread of its own once the server has started.

    Modes: "none": the models that are there at the start; "poll": what the folder holds, looked at again and again;
    "explicit": those that the server was told at its start, then those that clients load and unload.
    """

    def __init__(
        self,
        repository: ModelRepository,
        path: Path,
        defaults: ModelConfig,
        mode: ModelControlMode = "none",
        names: Sequence[str] = (),
    ) -> None:
        """Look for models; loads none.

        Args:
            repository: what is told to clients.
            path: where the models lie.
            defaults: what a config.toml does not say.
            mode: see above.
            names: explicit only: what is loaded at the start.

        Raises:
            StartupError: the folder is missing or, unless models can come later, holds no model; a config.toml is
                wrong; there is no model of a name; names are given though clients do not control the models.
        """
        self._repository = repository
        self._path = path
        self._defaults = defaults
        self._mode = mode
        self._load: Load = _refuse_to_load
        # Requests for changes wait for one another here, not on the I/O thread.
        self._thread = ThreadPoolExecutor(1, "headgate-models")
        self._closing = threading.Event()
        self._polling: threading.Thread | None = None
        #: What was wrong with a model, or with the repository, when it was last looked at.
        self._problems: dict[str, str] = {}
        #: What it said of labels.
        self._labels: dict[str, Mapping[str, int]] = {}
        if names and mode != "explicit":
            raise StartupError(f"'{names[0]}' is to be loaded at the start, which is for --model-control explicit")
        folders = [read_model_folder(each, defaults) for each in find_models(path)]
        wanted = {folder.name for folder in folders} if mode != "explicit" or ALL_MODELS in names else set(names)
        unknown = sorted(wanted - {folder.name for folder in folders})
        if unknown:
            raise StartupError(f"there is no model '{unknown[0]}' to load in {path}")
        if not folders and mode == "none":
            raise StartupError(
                f"{path} is a model's folder; give the repository that holds it"
                if holds_versions(path)
                else f"{path} holds no model at <model>/<version>/model.onnx; `headgate export` writes one"
            )
        for folder in folders:
            self._make_known(folder, ModelState.LOADING if folder.name in wanted else ModelState.UNLOADED)

    def start(self, load: Load, poll_interval_s: float, on_loaded: Callable[[LoadedModel], None]) -> None:
        """Load what is to be there at the start, one by one; then, if so told, watch the folder.

        Raises:
            StartupError: one cannot be loaded.
        """
        self._load = load
        for entry in list(self._repository):
            if entry.state is ModelState.LOADING:
                on_loaded(load(entry))
        self._repository.is_ready = True
        if self._mode == "poll":
            self._polling = threading.Thread(target=self._poll, args=(poll_interval_s,), name="headgate-poll")
            self._polling.start()

    def method(self, change: Callable[[Call], None]) -> Method:
        """Make a method of what answers a call by changing models, on the thread for that and in all workers."""

        def unless_closing(call: Call) -> None:
            if self._closing.is_set():
                raise UnavailableError("the server is shutting down")
            change(call)

        handle = Method(unless_closing).take

        def submit(call: Call) -> None:
            self._thread.submit(handle, call)

        return Method(submit, merge=first_answer)

    def versions(self, name: str) -> list[ModelEntry]:
        """Return the versions of a model, ready or not; where clients load models, also of one that has just come.

        Raises:
            FailedPreconditionError: it has come, and its config.toml is wrong.
            NotFoundError: there is none of that name.
        """
        if self._mode == "explicit" and name not in {entry.name for entry in self._repository}:
            try:
                path = self._find(name)
                if path is not None:
                    self._make_known(read_model_folder(path, self._defaults), ModelState.UNLOADED)
            except StartupError as error:
                raise FailedPreconditionError(f"model '{name}' cannot be loaded: {error}") from error
        return self._repository.versions(name)

    def load(self, name: str) -> None:
        """Load a model as it lies in the repository now; do nothing where that has been done.

        Raises:
            FailedPreconditionError: clients do not control this server's models; or it cannot be loaded, in which case
                the versions that are served go on.
            NotFoundError: the repository has none of that name.
        """
        self._check_explicit(name, "loaded")
        try:
            path = self._find(name)
            if path is None:
                raise NotFoundError(f"there is no model '{name}' in the repository")
            self._update(read_model_folder(path, self._defaults))
        except StartupError as error:
            raise FailedPreconditionError(f"model '{name}' cannot be loaded: {error}") from error

    def unload(self, name: str) -> None:
        """Take all versions of a model out of service, and wait until their requests are finished.

        Raises:
            FailedPreconditionError: clients do not control this server's models.
            NotFoundError: there is none of that name.
        """
        self._check_explicit(name, "unloaded")
        for entry in self._repository.versions(name):
            self._repository.unload(entry)

    def serve(self, names: Collection[str]) -> None:
        """Load and unload models, so that these are served and no others.

        Raises:
            FailedPreconditionError, NotFoundError: as of `load` and `unload`; some may have been loaded and unloaded.
        """
        served = {entry.name for entry in self._repository if entry.model is not None}
        for name in sorted(served.symmetric_difference(names)):
            if name in served:
                self.unload(name)
            else:
                self.load(name)

    def set_labels(self, name: str, labels: Mapping[str, int]) -> None:
        """Give labels to versions of a model, until its config.toml changes.

        Raises:
            NotFoundError: there is no such model or version.
        """
        self._repository.set_labels(name, labels)

    def refuse(self) -> None:
        """Begin no more changes; whose turn comes later is answered with UnavailableError."""
        self._closing.set()

    def close(self) -> None:
        """End the threads, after the change under way; there must be no new calls."""
        self.refuse()
        if self._polling is not None:
            self._polling.join()
        self._thread.shutdown()

    def _poll(self, interval_s: float) -> None:
        while not self._closing.wait(interval_s):
            self._thread.submit(self._follow_folder).result()

    def _follow_folder(self) -> None:
        """Have the models be those in the folder. What cannot be loaded is logged, and tried again when it changes."""
        with self._noting_problems(f"the repository {self._path}"):
            paths = find_models(self._path)
            for path in paths:
                with self._noting_problems(f"model '{path.name}'"):
                    self._update(read_model_folder(path, self._defaults))
            names = {path.name for path in paths}
            for entry in [entry for entry in self._repository if entry.name not in names]:
                _log.info("model '%s' has gone from the repository", entry.name)
                self._repository.drop(entry)
                self._labels.pop(entry.name, None)

    @contextmanager
    def _noting_problems(self, what: str) -> Iterator[None]:
        """Log what is wrong with something, and not again before that changes."""
        problem = ""
        try:
            yield
        except Exception as error:
            problem = str(error)
            if problem != self._problems.get(what):
                unexpected = not isinstance(error, StartupError)
                _log.warning("%s stays as it is: %s", what, problem, exc_info=unexpected)
        self._problems[what] = problem

    def _update(self, folder: ModelFolder) -> None:
        """Have a model's versions be those that its folder asks for; the old ones stay until all new ones are there."""
        known = {entry.version: entry for entry in self._repository if entry.name == folder.name}
        failures = []
        for entry in _entries(folder):
            before = known.get(entry.version)
            if before is not None and before.fingerprint == entry.fingerprint:
                if before.model is not None and not before.reason:
                    # In what does not matter to a model that is loaded it may be new.
                    before.config = entry.config
                    continue
                if before.reason and self._mode == "poll":
                    failures.append(StartupError(before.reason))
                    continue
            try:
                self._load(entry)
            except StartupError as error:
                failures.append(error)
        if failures:
            raise failures[0]
        self._take_labels(folder)
        for version, entry in known.items():
            if version not in folder.served:
                self._repository.drop(entry)

    def _make_known(self, folder: ModelFolder, state: ModelState) -> None:
        for entry in _entries(folder):
            entry.state = state
            self._repository.add(entry)
        self._take_labels(folder)

    def _take_labels(self, folder: ModelFolder) -> None:
        """Give versions the labels that the config.toml says, if it says others than when it was last read."""
        labels = folder.config.versions.labels
        if self._labels.get(folder.name) != labels:
            self._repository.set_labels(folder.name, labels)
            self._labels[folder.name] = labels

    def _check_explicit(self, name: str, what: str) -> None:
        if self._mode != "explicit":
            raise FailedPreconditionError(
                f"model '{name}' cannot be {what}: this server does not load and unload models on request; start it "
                "with --model-control explicit"
            )

    def _find(self, name: str) -> Path | None:
        """Return a model's folder. What clients say is compared with names that are there, never made a path."""
        return next((path for path in find_models(self._path) if path.name == name), None)


def _entries(folder: ModelFolder) -> list[ModelEntry]:
    return [
        ModelEntry(folder.name, version, folder.path / str(version), folder.config, folder.fingerprint(version))
        for version in folder.served
    ]


def _refuse_to_load(entry: ModelEntry) -> LoadedModel:
    raise StartupError("the server has not started")

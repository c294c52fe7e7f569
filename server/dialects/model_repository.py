"""Triton's model repository extension of `inference.GRPCInferenceService`: which models there are, load, unload."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headgate.foreign import open_inference as oip
from headgate.server.dialects.messages import parse
from headgate.server.errors import InvalidArgumentError, UnimplementedError
from headgate.server.model_control import ModelControl
from headgate.server.repository import ModelEntry, ModelRepository, ModelState
from headgate.server.transport import Call, Method

_PREFIX = f"/{oip.SERVICE.full_name}"


class ModelRepositoryDialect:
    """The three calls; those that change something run on the thread of the model control."""

    def __init__(self, repository: ModelRepository, control: ModelControl) -> None:
        self._repository = repository
        self._control = control

    def methods(self) -> Mapping[str, Method]:
        """Return the methods by path."""
        return {
            f"{_PREFIX}/RepositoryIndex": Method(self._index),
            f"{_PREFIX}/RepositoryModelLoad": self._control.method(self._load),
            f"{_PREFIX}/RepositoryModelUnload": self._control.method(self._unload),
        }

    def _index(self, call: Call) -> None:
        request = parse(oip.RepositoryIndexRequest, call.request)
        _check_repository(request)
        models = [_describe(entry) for entry in self._repository if entry.model is not None or not request.ready]
        call.reply(oip.RepositoryIndexResponse(models=models).SerializeToString())

    def _load(self, call: Call) -> None:
        request = parse(oip.RepositoryModelLoadRequest, call.request)
        _check_repository(request)
        if request.parameters:
            raise UnimplementedError(
                f"parameter '{min(request.parameters)}' cannot be given: models are loaded as they lie in the "
                "repository; edit their config.toml instead"
            )
        self._control.load(request.model_name)
        call.reply(oip.RepositoryModelLoadResponse().SerializeToString())

    def _unload(self, call: Call) -> None:
        request = parse(oip.RepositoryModelUnloadRequest, call.request)
        _check_repository(request)
        # `unload_dependents` is for ensembles, of which there are none.
        unknown = sorted(set(request.parameters) - {"unload_dependents"})
        if unknown:
            raise InvalidArgumentError(f"parameter '{unknown[0]}' is not known; there is unload_dependents")
        self._control.unload(request.model_name)
        call.reply(oip.RepositoryModelUnloadResponse().SerializeToString())


def _check_repository(request: Any) -> None:
    if request.repository_name:
        raise InvalidArgumentError(
            f"the repository name is '{request.repository_name}'; this server has one repository, without a name"
        )


def _describe(entry: ModelEntry) -> Any:
    # The protocol has no state of its own for what nobody wants to be loaded.
    unloaded = entry.state is ModelState.UNLOADED
    return oip.RepositoryIndexResponse.ModelIndex(
        name=entry.name,
        version=str(entry.version),
        state="UNAVAILABLE" if unloaded else entry.state.name,
        reason="unloaded" if unloaded else entry.reason,
    )

"""Models as TensorFlow Serving describes them: which version is meant, its signatures, where versions stand, labels."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from typing import Any

from headgate.foreign import tensorflow_serving as tfs
from headgate.server.config import VersionsConfig
from headgate.server.dialects.tensorflow_serving_renderers import describe_version
from headgate.server.dialects.tensorflow_serving_signatures import ModelSignatures
from headgate.server.errors import FailedPreconditionError, InvalidArgumentError, NotFoundError
from headgate.server.model import LoadedModel
from headgate.server.model_control import ModelControl
from headgate.server.repository import ModelEntry, ModelRepository, ModelState

#: More are refused before they are looked at.
_MAX_CONFIGS = 8_000
_STATES = {
    ModelState.LOADING: "LOADING",
    ModelState.READY: "AVAILABLE",
    ModelState.UNLOADING: "UNLOADING",
    ModelState.UNLOADED: "END",
    ModelState.UNAVAILABLE: "END",
}


def read_model_spec(spec: Any) -> tuple[str, int, str]:
    """Return the name, the version and the label of a ModelSpec, 0 and "" where it has none.

    Raises:
        InvalidArgumentError: it has no name, or an empty label.
        NotFoundError: its version is none that a model can have.
    """
    if not spec.name:
        raise InvalidArgumentError("the model_spec has no name; name a model")
    choice = spec.WhichOneof("version_choice")
    if choice == "version":
        version = spec.version.value
        if version < 1:
            raise NotFoundError(f"model '{spec.name}' has no version {version}; versions are positive")
        return spec.name, version, ""
    if choice and not spec.version_label:
        raise InvalidArgumentError("the model_spec has an empty version_label; leave it out for the latest version")
    return spec.name, 0, spec.version_label


def describe_signatures(model: LoadedModel, signatures: ModelSignatures) -> Any:
    """Make a GetModelMetadataResponse."""
    definitions = {name: signature.describe() for name, signature in signatures.by_name.items()}
    response = tfs.GetModelMetadataResponse(model_spec=describe_version(model))
    response.metadata["signature_def"].Pack(tfs.SignatureDefMap(signature_def=definitions))
    return response


def describe_status(repository: ModelRepository, spec: Any) -> Any:
    """Make a GetModelStatusResponse: of the version that a ModelSpec names, or of all, the latest first.

    Raises:
        InvalidArgumentError, NotFoundError: there is none such.
    """
    name, version, label = read_model_spec(spec)
    entries = [repository.entry(name, version, label)] if version or label else repository.versions(name)[::-1]
    return tfs.GetModelStatusResponse(model_version_status=[_describe_entry(entry) for entry in entries])


def _describe_entry(entry: ModelEntry) -> Any:
    status = {}
    if entry.state is ModelState.UNAVAILABLE:
        status = {"error_code": "INTERNAL", "error_message": entry.reason}
    return tfs.ModelVersionStatus(version=entry.version, state=_STATES[entry.state], status=status)


def reload_config(request: Any, control: ModelControl) -> None:
    """Serve the models that a ReloadConfigRequest lists and no others; give their versions its labels and no others.

    The rest of it has to say what is so already, since that is what the repository and its config.toml files decide.

    Raises:
        InvalidArgumentError: it has no list of models, or a very long one, or names one twice.
        NotFoundError: there is no model of a name.
        FailedPreconditionError: it would change something else, or give a label to a version that is not ready; clients
            do not control which models this server has; or one cannot be loaded.
    """
    if request.config.WhichOneof("config") != "model_config_list":
        raise InvalidArgumentError("the request has no model_config_list, the only config that is served")
    configs = request.config.model_config_list.config
    if len(configs) > _MAX_CONFIGS:
        raise InvalidArgumentError(f"the model_config_list has {len(configs)} entries; send at most {_MAX_CONFIGS}")
    names = {config.name for config in configs}
    if len(names) < len(configs):
        raise InvalidArgumentError("the model_config_list names a model twice; name each once")
    # Labels are checked first, as TensorFlow Serving does: who lists a model anew gives it labels later.
    for config in configs:
        _check_config(config, control.versions(config.name))
    control.serve(names)
    for config in configs:
        control.set_labels(config.name, config.version_labels)


def _check_config(config: Any, entries: Iterable[ModelEntry]) -> None:
    """Check that what a ModelConfig says beside its labels is so, and that labels are of versions that are ready."""
    served = {entry.version: entry for entry in entries}
    first = next(iter(served.values()))
    folder = first.path.parent
    what = f"model '{config.name}'"
    # What clients say is compared, never made a path.
    if config.base_path and os.path.normpath(config.base_path) not in (os.path.abspath(folder), str(folder.resolve())):
        raise FailedPreconditionError(
            f"{what} is served from {os.path.abspath(folder)}, which cannot be changed to the base_path "
            f"'{config.base_path}'; leave it out"
        )
    if not _is_policy(config.model_version_policy, first.config.versions, served):
        raise FailedPreconditionError(
            f"{what} is served in version{'s' * (len(served) > 1)} {', '.join(map(str, served))}, as [versions] in its "
            "config.toml says, which its model_version_policy would change; leave it out"
        )
    if config.HasField("logging_config"):
        raise FailedPreconditionError(f"{what} has a logging_config; this server logs no requests, leave it out")
    ready = [version for version, entry in served.items() if entry.model is not None]
    for label, version in config.version_labels.items():
        if not label:
            raise InvalidArgumentError(f"{what} has an empty label for version {version}; give it a name")
        if version not in ready:
            raise FailedPreconditionError(
                f"label '{label}' cannot be given to version {version} of {what}, which is not ready; ready: "
                f"{', '.join(map(str, ready)) or 'none'}"
            )


def _is_policy(policy: Any, versions: VersionsConfig, served: Collection[int]) -> bool:
    match policy.WhichOneof("policy_choice"):
        case "latest":
            return not versions.all and not versions.specific and (policy.latest.num_versions or 1) == versions.latest
        case "all":
            return versions.all
        case "specific":
            return set(policy.specific.versions) == set(served)
    return True

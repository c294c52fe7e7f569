"""Triton's logging and trace extensions of `inference.GRPCInferenceService`: what is logged; nothing is traced."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from headgate.foreign import open_inference as oip
from headgate.server.dialects.messages import parse
from headgate.server.dialects.open_inference_parameters import value_of
from headgate.server.errors import InvalidArgumentError, UnimplementedError
from headgate.server.repository import ModelRepository
from headgate.server.transport import Call, Method
from headgate.server.workers import first_answer

_PREFIX = f"/{oip.SERVICE.full_name}"
#: Above all of this server's modules.
_LOGGER = logging.getLogger("headgate")
_VERBOSE = "log_verbose_level"
#: What switches each level on, from the least urgent to the most.
_LEVELS = {
    _VERBOSE: logging.DEBUG,
    "log_info": logging.INFO,
    "log_warning": logging.WARNING,
    "log_error": logging.ERROR,
}
#: What is settled when the server starts; clients may send back what they were told.
_FIXED = {"log_file": "", "log_format": "default"}
_NEXT = dict(pairwise([*_LEVELS.values(), logging.CRITICAL]))


class SettingsDialect:
    """The two calls; what they change, they change in all workers."""

    def __init__(self, repository: ModelRepository) -> None:
        self._repository = repository

    def methods(self) -> Mapping[str, Method]:
        """Return the methods by path."""
        return {
            f"{_PREFIX}/TraceSetting": Method(self._trace),
            f"{_PREFIX}/LogSettings": Method(_log, merge=first_answer),
        }

    def _trace(self, call: Call) -> None:
        request = parse(oip.TraceSettingRequest, call.request)
        if request.model_name:
            self._repository.versions(request.model_name)
        for name, setting in request.settings.items():
            # To clear a setting leaves it as it is.
            if setting.value and (name, list(setting.value)) != ("trace_level", ["OFF"]):
                raise UnimplementedError(f"this server traces nothing, so that {name} cannot be set")
        response = oip.TraceSettingResponse(settings={"trace_level": {"value": ["OFF"]}})
        call.reply(response.SerializeToString())


def _log(call: Call) -> None:
    request = parse(oip.LogSettingsRequest, call.request)
    if request.settings:
        _LOGGER.setLevel(_read_level({name: value_of(setting) for name, setting in request.settings.items()}))
    response = oip.LogSettingsResponse()
    for name, level in _LEVELS.items():
        if name == _VERBOSE:
            response.settings[name].uint32_param = int(_LOGGER.isEnabledFor(level))
        else:
            response.settings[name].bool_param = _LOGGER.isEnabledFor(level)
    for name, value in _FIXED.items():
        response.settings[name].string_param = value
    call.reply(response.SerializeToString())


def _read_level(settings: Mapping[str, Any]) -> int:
    """Return the least urgent level that is to be logged; those that are not named follow their neighbours."""
    on: list[int] = []
    off: list[int] = []
    for name, value in settings.items():
        if name in _FIXED:
            if value == _FIXED[name]:
                continue
            raise UnimplementedError(f"{name} is settled when the server starts; it logs to its standard error")
        if name not in _LEVELS:
            raise InvalidArgumentError(f"there is no setting '{name}'; there are {', '.join(_LEVELS)}")
        if value not in (False, True) or isinstance(value, bool) == (name == _VERBOSE):
            expected = "0 or 1, as uint32_param" if name == _VERBOSE else "true or false, as bool_param"
            raise InvalidArgumentError(f"{name} is {value!r}; give {expected}")
        (on if value else off).append(_LEVELS[name])
    least = max([_NEXT[level] for level in off], default=logging.DEBUG)
    if min(on, default=least) < least:
        raise InvalidArgumentError(
            "what is logged is everything from one level up: verbose, info, warning, error; switch off the less urgent"
        )
    return max(least, min(_LOGGER.getEffectiveLevel(), *on, logging.CRITICAL))

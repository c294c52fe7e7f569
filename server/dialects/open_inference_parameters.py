"""Parameters of the Open Inference Protocol, as Triton's extensions define them: of requests, inputs and outputs."""

from __future__ import annotations

from typing import Any, NamedTuple

from headgate.server.errors import InvalidArgumentError, UnimplementedError

#: More are refused before they are looked at.
_MAX_PARAMETERS = 100
_REGION, _BYTE_SIZE, _OFFSET = "shared_memory_region", "shared_memory_byte_size", "shared_memory_offset"
_EMPTY_FINAL_RESPONSE = "triton_enable_empty_final_response"
_SEQUENCE = ("sequence_id", "sequence_start", "sequence_end")


class NamedRegion(NamedTuple):
    """What a tensor's parameters say of shared memory: the region's name, and in bytes where in it the tensor is."""

    name: str
    offset: int
    byte_size: int


def read_request_parameters(parameters: Any) -> tuple[int, int]:
    """Return the priority and the queue timeout in microseconds, 0 where there is none; others mean nothing here.

    Raises:
        InvalidArgumentError: one is not what it should be, or there are too many.
        UnimplementedError: the request belongs to a sequence.
    """
    if len(parameters) > _MAX_PARAMETERS:
        raise InvalidArgumentError(f"the request has {len(parameters)} parameters; send at most {_MAX_PARAMETERS}")
    for key in parameters:
        if key in _SEQUENCE and value_of(parameters[key]):
            raise UnimplementedError(
                f"parameter '{key}' makes the request part of a sequence, but models have no state here; leave it out"
            )
        if key == _EMPTY_FINAL_RESPONSE:
            # Each response is its request's only one, and says that it is final.
            _read(parameters, key, ("bool_param",), "true or false")
        elif key.startswith("triton_"):
            raise InvalidArgumentError(f"parameter '{key}' is not known; names that begin with triton_ are reserved")
    return _read_count(parameters, "priority"), _read_count(parameters, "timeout")


def read_region(tensor: Any) -> NamedRegion | None:
    """Return the region that an input is in, or that a requested output is to be in; None where it travels.

    Raises:
        InvalidArgumentError: a parameter is missing, or not what it should be.
    """
    parameters = tensor.parameters
    if not (_REGION in parameters or _BYTE_SIZE in parameters or _OFFSET in parameters):
        return None
    if _REGION not in parameters or _BYTE_SIZE not in parameters:
        raise InvalidArgumentError(f"'{tensor.name}' has parameters of shared memory; give {_REGION} and {_BYTE_SIZE}")
    name = _read(parameters, _REGION, ("string_param",), "the name of a region")
    return NamedRegion(name, _read_count(parameters, _OFFSET), _read_count(parameters, _BYTE_SIZE))


def write_region(output: Any, region: NamedRegion) -> None:
    """Say in an output's parameters where it is."""
    output.parameters[_REGION].string_param = region.name
    output.parameters[_BYTE_SIZE].int64_param = region.byte_size
    output.parameters[_OFFSET].int64_param = region.offset


def read_class_count(output: Any) -> int:
    """Return how many classes a requested output is to have, 0 for its elements themselves.

    Raises:
        InvalidArgumentError: the parameter is not what it should be.
    """
    count = _read_count(output.parameters, "classification")
    if not count and "classification" in output.parameters:
        raise InvalidArgumentError(f"output '{output.name}' is asked for with 0 classes; ask for 1 or more")
    return count


def _read_count(parameters: Any, key: str) -> int:
    # Clients send either kind.
    count = _read(parameters, key, ("int64_param", "uint64_param"), "a whole number, 0 or more") or 0
    if count < 0:
        raise InvalidArgumentError(f"parameter '{key}' is {count}; give a whole number, 0 or more")
    return int(count)


def _read(parameters: Any, key: str, kinds: tuple[str, ...], expected: str) -> Any:
    """Return the value of a parameter, None if it is not there."""
    if key not in parameters:
        return None
    if parameters[key].WhichOneof("parameter_choice") not in kinds:
        raise InvalidArgumentError(f"parameter '{key}' is {value_of(parameters[key])!r}; give {expected}")
    return value_of(parameters[key])


def value_of(parameter: Any) -> Any:
    """Return the value of an InferParameter or a setting, None where it has none."""
    kind = parameter.WhichOneof("parameter_choice")
    return getattr(parameter, kind) if kind else None

"""The JSON of requests and answers: what is checked first, and what stands in /openapi.json."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, get_type_hints

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    create_model,
    model_validator,
)
from pydantic_core import from_json

from headgate.client import Options
from headgate.server.errors import InvalidArgumentError

#: Of an object or a list, but for those that hold tensors.
MOST_ENTRIES = 4096


def _check_size(value: Any) -> Any:
    """Refuse what has so many entries that to say what is wrong with each would take gigabytes."""
    if isinstance(value, dict | list) and len(value) > MOST_ENTRIES:
        raise ValueError(f"{len(value)} entries are too many; at most {MOST_ENTRIES} are taken")
    return value


#: For the type of an object or a list.
SMALL = BeforeValidator(_check_size)
Parameters = Annotated[dict[str, bool | int | float | str], SMALL]
Int64 = Annotated[int, Field(ge=-(2**63), lt=2**63)]
Uint64 = Annotated[int, Field(ge=0, lt=2**64)]
#: So many problems of a body are told.
_MOST_PROBLEMS = 3


class Schema(BaseModel):
    """JSON whose types are not converted."""

    model_config = ConfigDict(strict=True, extra="forbid")

    _check_size = model_validator(mode="before")(_check_size)


class ProtocolSchema(Schema):
    """JSON of the Open Inference Protocol: what this server does not know is left aside."""

    model_config = ConfigDict(extra="ignore")


class InputTensor(ProtocolSchema):
    """One of `data`, the parameter `binary_data_size`, or the parameters of a shared memory region."""

    name: str
    datatype: str
    shape: Annotated[list[Int64], SMALL]
    parameters: Parameters = {}
    data: list[Any] | None = Field(default=None, description="Elements in row-major order, flat or nested.")


class RequestedOutput(ProtocolSchema):
    """Parameters: `binary_data`, `classification`, or those of a shared memory region."""

    name: str
    parameters: Parameters = {}


class InferRequest(ProtocolSchema):
    """Raw tensors for a model."""

    id: str = ""
    parameters: Parameters = {}
    inputs: Annotated[list[InputTensor], SMALL]
    outputs: Annotated[list[RequestedOutput], SMALL] = Field(
        default=[], description="All of them, if there are none here."
    )


class OutputTensor(Schema):
    """`data` is missing where it is binary, or in a shared memory region; NaN and infinities are null."""

    name: str
    datatype: str
    shape: list[int]
    parameters: Parameters = {}
    data: list[Any] | None = Field(default=None, description="Elements in row-major order, flat.")


class InferAnswer(Schema):
    """Raw tensors from a model."""

    model_name: str
    model_version: str
    id: str = ""
    parameters: Parameters = {}
    outputs: list[OutputTensor]


if TYPE_CHECKING:
    DecodeOptions = Schema
else:
    # The options of the Python client.
    _OPTIONS = {name: (Annotated[hint | None, SMALL], None) for name, hint in get_type_hints(Options).items()}
    DecodeOptions = create_model("DecodeOptions", __base__=Schema, __doc__=Options.__doc__, **_OPTIONS)


class PredictRequest(Schema):
    """Rows to be predicted."""

    inputs: list[Any] | dict[str, Any] = Field(
        description="An array for a model with one input, an object with an array for each input or feature, or a list "
        "of rows: objects with a value for each feature. null among numbers is NaN.",
        examples=[[[5.1, 3.5, 1.4, 0.2]], {"age": [61, 48], "sex": [1, 0]}, [{"age": 61, "sex": 1}]],
    )
    options: DecodeOptions = DecodeOptions()
    id: str = ""


class PredictAnswer(Schema):
    """A list of rows: what each head predicts for it, by the head's name; null where the model gave NaN."""

    model: str
    version: int
    id: str = ""
    predictions: list[dict[str, dict[str, Any] | None]]


class Problem(Schema):
    """What went wrong, in one line."""

    error: str


SchemaT = TypeVar("SchemaT", bound=BaseModel)


def parse(schema: type[SchemaT], body: bytes) -> SchemaT:
    """Read JSON.

    Raises:
        InvalidArgumentError: it is no JSON, or not of the schema.
    """
    # Otherwise it would look for cycles among millions of lists, again and again.
    gc.disable()
    try:
        parsed = from_json(body)
    except ValueError as error:
        raise InvalidArgumentError(f"the body is no valid JSON: {error}") from None
    finally:
        gc.enable()
    try:
        return schema.model_validate(parsed)
    except ValidationError as error:
        problems = [
            f"{'.'.join(map(str, problem['loc'])) or 'body'}: {problem['msg'].removeprefix('Value error, ')}"
            for problem in error.errors(include_url=False, include_input=False, include_context=False)
        ]
        more = f" ({len(problems) - _MOST_PROBLEMS} more)" if len(problems) > _MOST_PROBLEMS else ""
        raise InvalidArgumentError("; ".join(problems[:_MOST_PROBLEMS]) + more) from None

"""Messages of public protocols that headgate speaks and whose names are others'.

The Python packages of those others (tritonclient, TensorFlow, grpcio-health-checking, ...) register the same names in
protobuf's default pool, which refuses a second definition. These live in a pool of their own, so that both can be
imported into one process, in any order. A message of one is no instance of the other's class; the bytes are the same.

- `headgate.foreign.open_inference`: the Open Inference Protocol with extensions of NVIDIA Triton
- `headgate.foreign.tensorflow_serving`: TensorFlow Serving
- `headgate.foreign.health`: gRPC's health checks
- `headgate.foreign.reflection_v1`, `headgate.foreign.reflection_v1alpha`: gRPC's server reflection
"""

from importlib.resources import files
from typing import Any

from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper
from google.protobuf.message_factory import GetMessageClass


def _load() -> DescriptorPool:
    pool = DescriptorPool()
    for file in FileDescriptorSet.FromString(files(__name__).joinpath("foreign.binpb").read_bytes()).file:
        pool.AddSerializedFile(file.SerializeToString())
    return pool


_POOL = _load()


def message_class(full_name: str) -> Any:
    """Return the class of a message; `Any`, since type checkers cannot know its fields.

    Raises:
        KeyError: none of the protocols has it.

    >>> message_class("inference.ModelReadyRequest")(name="iris").name
    'iris'
    """
    return GetMessageClass(_POOL.FindMessageTypeByName(full_name))


def enum_type(full_name: str) -> Any:
    """Return an enum as generated code has it: its values are attributes, `Name` and `Value` translate.

    Raises:
        KeyError: none of the protocols has it.

    >>> enum_type("inference.DataType").TYPE_FP32
    11
    """
    return EnumTypeWrapper(_POOL.FindEnumTypeByName(full_name))


def service(full_name: str) -> ServiceDescriptor:
    """Return the descriptor of a service.

    Raises:
        KeyError: none of the protocols has it.

    >>> [method.name for method in service("grpc.health.v1.Health").methods]
    ['Check', 'List', 'Watch']
    """
    return _POOL.FindServiceByName(full_name)

from headgate.v1 import head_pb2 as _head_pb2
from headgate.v1 import tensor_pb2 as _tensor_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Signature(_message.Message):
    __slots__ = ("schema_version", "inputs", "outputs", "heads", "verification", "provenance", "paddings")
    SCHEMA_VERSION_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    HEADS_FIELD_NUMBER: _ClassVar[int]
    VERIFICATION_FIELD_NUMBER: _ClassVar[int]
    PROVENANCE_FIELD_NUMBER: _ClassVar[int]
    PADDINGS_FIELD_NUMBER: _ClassVar[int]
    schema_version: int
    inputs: _containers.RepeatedCompositeFieldContainer[_tensor_pb2.TensorSpec]
    outputs: _containers.RepeatedCompositeFieldContainer[_tensor_pb2.TensorSpec]
    heads: _containers.RepeatedCompositeFieldContainer[_head_pb2.Head]
    verification: Verification
    provenance: Provenance
    paddings: _containers.RepeatedCompositeFieldContainer[Padding]
    def __init__(self, schema_version: _Optional[int] = ..., inputs: _Optional[_Iterable[_Union[_tensor_pb2.TensorSpec, _Mapping]]] = ..., outputs: _Optional[_Iterable[_Union[_tensor_pb2.TensorSpec, _Mapping]]] = ..., heads: _Optional[_Iterable[_Union[_head_pb2.Head, _Mapping]]] = ..., verification: _Optional[_Union[Verification, _Mapping]] = ..., provenance: _Optional[_Union[Provenance, _Mapping]] = ..., paddings: _Optional[_Iterable[_Union[Padding, _Mapping]]] = ...) -> None: ...

class Padding(_message.Message):
    __slots__ = ("inputs", "mask", "outputs")
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    MASK_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    inputs: _containers.RepeatedCompositeFieldContainer[PaddedInput]
    mask: str
    outputs: _containers.RepeatedCompositeFieldContainer[PaddedOutput]
    def __init__(self, inputs: _Optional[_Iterable[_Union[PaddedInput, _Mapping]]] = ..., mask: _Optional[str] = ..., outputs: _Optional[_Iterable[_Union[PaddedOutput, _Mapping]]] = ...) -> None: ...

class PaddedInput(_message.Message):
    __slots__ = ("input", "axis", "fill")
    INPUT_FIELD_NUMBER: _ClassVar[int]
    AXIS_FIELD_NUMBER: _ClassVar[int]
    FILL_FIELD_NUMBER: _ClassVar[int]
    input: str
    axis: int
    fill: float
    def __init__(self, input: _Optional[str] = ..., axis: _Optional[int] = ..., fill: _Optional[float] = ...) -> None: ...

class PaddedOutput(_message.Message):
    __slots__ = ("output", "axis")
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    AXIS_FIELD_NUMBER: _ClassVar[int]
    output: str
    axis: int
    def __init__(self, output: _Optional[str] = ..., axis: _Optional[int] = ...) -> None: ...

class Verification(_message.Message):
    __slots__ = ("checks", "absolute_tolerance", "relative_tolerance")
    CHECKS_FIELD_NUMBER: _ClassVar[int]
    ABSOLUTE_TOLERANCE_FIELD_NUMBER: _ClassVar[int]
    RELATIVE_TOLERANCE_FIELD_NUMBER: _ClassVar[int]
    checks: _containers.RepeatedCompositeFieldContainer[ParityCheck]
    absolute_tolerance: float
    relative_tolerance: float
    def __init__(self, checks: _Optional[_Iterable[_Union[ParityCheck, _Mapping]]] = ..., absolute_tolerance: _Optional[float] = ..., relative_tolerance: _Optional[float] = ...) -> None: ...

class ParityCheck(_message.Message):
    __slots__ = ("output", "batch_size", "inputs", "max_absolute_error", "max_relative_error")
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    BATCH_SIZE_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    MAX_ABSOLUTE_ERROR_FIELD_NUMBER: _ClassVar[int]
    MAX_RELATIVE_ERROR_FIELD_NUMBER: _ClassVar[int]
    output: str
    batch_size: int
    inputs: str
    max_absolute_error: float
    max_relative_error: float
    def __init__(self, output: _Optional[str] = ..., batch_size: _Optional[int] = ..., inputs: _Optional[str] = ..., max_absolute_error: _Optional[float] = ..., max_relative_error: _Optional[float] = ...) -> None: ...

class Provenance(_message.Message):
    __slots__ = ("source_file", "source_sha256", "exported_at", "opset", "versions")
    class VersionsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    SOURCE_FILE_FIELD_NUMBER: _ClassVar[int]
    SOURCE_SHA256_FIELD_NUMBER: _ClassVar[int]
    EXPORTED_AT_FIELD_NUMBER: _ClassVar[int]
    OPSET_FIELD_NUMBER: _ClassVar[int]
    VERSIONS_FIELD_NUMBER: _ClassVar[int]
    source_file: str
    source_sha256: str
    exported_at: str
    opset: int
    versions: _containers.ScalarMap[str, str]
    def __init__(self, source_file: _Optional[str] = ..., source_sha256: _Optional[str] = ..., exported_at: _Optional[str] = ..., opset: _Optional[int] = ..., versions: _Optional[_Mapping[str, str]] = ...) -> None: ...

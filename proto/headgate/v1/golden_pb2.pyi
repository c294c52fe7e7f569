from headgate.v1 import prediction_service_pb2 as _prediction_service_pb2
from headgate.v1 import tensor_pb2 as _tensor_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class GoldenExamples(_message.Message):
    __slots__ = ("request", "outputs", "response")
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    request: _prediction_service_pb2.PredictRequest
    outputs: _containers.RepeatedCompositeFieldContainer[_tensor_pb2.Tensor]
    response: _prediction_service_pb2.PredictResponse
    def __init__(self, request: _Optional[_Union[_prediction_service_pb2.PredictRequest, _Mapping]] = ..., outputs: _Optional[_Iterable[_Union[_tensor_pb2.Tensor, _Mapping]]] = ..., response: _Optional[_Union[_prediction_service_pb2.PredictResponse, _Mapping]] = ...) -> None: ...

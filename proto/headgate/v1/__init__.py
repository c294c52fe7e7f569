"""The messages of `headgate.v1`, generated from the .proto files beside this module.

`headgate.v1.tensors` converts between numpy arrays and `Tensor` messages.
"""

from headgate.v1.head_pb2 import (
    ACTIVATION_LINEAR,
    ACTIVATION_LOGITS,
    ACTIVATION_PROBABILITIES,
    Activation,
    BinaryHead,
    Head,
    MulticlassHead,
    MultilabelHead,
    RegressionHead,
    TargetScaling,
)
from headgate.v1.prediction_pb2 import (
    BinaryColumns,
    MulticlassColumns,
    MultilabelColumns,
    Prediction,
    RegressionColumns,
)
from headgate.v1.prediction_service_pb2 import (
    GetModelRequest,
    GetModelResponse,
    ListModelsRequest,
    ListModelsResponse,
    Model,
    PredictOptions,
    PredictRequest,
    PredictResponse,
    StreamError,
    StreamPredictResponse,
)
from headgate.v1.signature_pb2 import (
    PaddedInput,
    PaddedOutput,
    Padding,
    ParityCheck,
    Provenance,
    Signature,
    Verification,
)
from headgate.v1.tensor_pb2 import DataType, Tensor, TensorSpec

__all__ = [
    "ACTIVATION_LINEAR",
    "ACTIVATION_LOGITS",
    "ACTIVATION_PROBABILITIES",
    "Activation",
    "BinaryColumns",
    "BinaryHead",
    "DataType",
    "GetModelRequest",
    "GetModelResponse",
    "Head",
    "ListModelsRequest",
    "ListModelsResponse",
    "Model",
    "MulticlassColumns",
    "MulticlassHead",
    "MultilabelColumns",
    "MultilabelHead",
    "PaddedInput",
    "PaddedOutput",
    "Padding",
    "ParityCheck",
    "PredictOptions",
    "PredictRequest",
    "PredictResponse",
    "Prediction",
    "Provenance",
    "RegressionColumns",
    "RegressionHead",
    "Signature",
    "StreamError",
    "StreamPredictResponse",
    "TargetScaling",
    "Tensor",
    "TensorSpec",
    "Verification",
]

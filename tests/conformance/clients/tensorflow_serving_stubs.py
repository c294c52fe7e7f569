"""tensorflow-serving-api's messages and stubs, with TensorFlow's own tensors and examples."""

import importlib.metadata
import os
import sys
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import grpc
import numpy as np
import tensorflow as tf
from checks import check, client, equal, refused
from google.protobuf.wrappers_pb2 import Int64Value
from plan import read_plan
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    input_pb2,
    model_management_pb2,
    model_pb2,
    predict_pb2,
    regression_pb2,
)
from tensorflow_serving.apis.model_service_pb2_grpc import ModelServiceStub
from tensorflow_serving.apis.prediction_service_pb2_grpc import PredictionServiceStub
from tensorflow_serving.config import model_server_config_pb2

CLASSIFY, REGRESS = "tensorflow/serving/classify", "tensorflow/serving/regress"
AVAILABLE = get_model_status_pb2.ModelVersionStatus.AVAILABLE


def main(plan_path):
    client("tensorflow-serving-api", importlib.metadata.version("tensorflow-serving-api"))
    plan = read_plan(plan_path)
    with _connect(plan) as channel:
        predictions, models = PredictionServiceStub(channel), ModelServiceStub(channel)
        if plan.only_main:
            check_main(predictions, models, plan)
            return
        check_predict(predictions, plan)
        check_versions(predictions, plan)
        check_classify(predictions, plan)
        check_regress(predictions, plan)
        check_multi_inference(predictions, plan)
        check_metadata(predictions)
        check_status(models)
        check_labels(predictions, models, plan)


def _connect(plan):
    options = [("grpc.max_receive_message_length", -1)]
    if not plan.authority:
        return grpc.insecure_channel(plan.grpc, options)
    credentials = grpc.ssl_channel_credentials(Path(plan.authority).read_bytes())
    return grpc.secure_channel(plan.grpc, credentials, options)


def check_main(predictions, models, plan):
    with check("GetModelStatus"):
        request = get_model_status_pb2.GetModelStatusRequest(model_spec=_spec("price"))
        equal([each.state for each in models.GetModelStatus(request).model_version_status], [AVAILABLE])
    with check("GetModelMetadata"):
        spec = _spec("price")
        request = get_model_metadata_pb2.GetModelMetadataRequest(model_spec=spec, metadata_field=["signature_def"])
        equal(predictions.GetModelMetadata(request).model_spec.name, "price")
    with check("Predict"):
        _assert_predicts(predictions, plan.cases["two inputs, two outputs"])


def check_predict(stub, plan):
    for name, case in plan.cases.items():
        if case.model.startswith("identity_"):
            with check("Predict", name):
                _assert_predicts(stub, case)
            if case.inputs["x"].datatype != "BYTES" and case.rows:
                with check("Predict, typed fields", name):
                    _assert_predicts(stub, case, _typed_proto)
    with check("Predict, typed fields", "one value for all elements"):
        tensor = tf.make_tensor_proto(np.float32([0]), shape=[2, 3])
        equal(len(tensor.float_val) or len(tensor.tensor_content) // 4, 1)
        tensor.ClearField("tensor_content")
        tensor.float_val[:] = [2.5]
        answer = stub.Predict(predict_pb2.PredictRequest(model_spec=_spec("identity_FP32"), inputs={"x": tensor}))
        equal(tf.make_ndarray(answer.outputs["y"]).tolist(), [[2.5] * 3] * 2)
    for key in ("two inputs, two outputs", "churn"):
        with check("Predict", {"churn": "text and numbers"}.get(key, key)):
            _assert_predicts(stub, plan.cases[key])
    case = plan.cases["two inputs, two outputs"]
    with check("Predict", "output_filter"):
        answer = stub.Predict(_predict_request(case, output_filter=["total"]))
        equal(list(answer.outputs), ["total"])
        case.outputs["total"].assert_equal(tf.make_ndarray(answer.outputs["total"]))
    with check("Predict", "gzip"):
        answer = stub.Predict(_predict_request(case), compression=grpc.Compression.Gzip)
        case.outputs["total"].assert_equal(tf.make_ndarray(answer.outputs["total"]))
    unknown_signature = _spec("sums", signature="nothing")
    for name, request, code in (
        ("an unknown model", _predict_request(case, model_spec=_spec("nothing")), "NOT_FOUND"),
        ("an unknown version", _predict_request(case, model_spec=_spec("sums", version=9)), "NOT_FOUND"),
        ("no model", _predict_request(case, model_spec=_spec("")), "INVALID_ARGUMENT"),
        ("an unknown output", _predict_request(case, output_filter=["nothing"]), "INVALID_ARGUMENT"),
        ("an unknown signature", _predict_request(case, model_spec=unknown_signature), "FAILED_PRECONDITION"),
        ("a wrong shape", _predict_request(plan.cases["price"], model_spec=_spec("tumor")), "INVALID_ARGUMENT"),
    ):  # fmt: skip
        with check("Predict, errors", f"{name}: {code}"), refused(code, exception=grpc.RpcError):
            stub.Predict(request)
    with check("Predict, errors", "deadline"), refused("DEADLINE_EXCEEDED", exception=grpc.RpcError):
        stub.Predict(_predict_request(plan.cases["busy"]), timeout=0.01)


def check_versions(stub, plan):
    for name, spec, version in (
        ("a version", _spec("fruit", version=1), 1),
        ("the latest version", _spec("fruit"), 2),
        ("a label", _spec("fruit", label="stable"), 1),
        ("another label", _spec("fruit", label="canary"), 2),
    ):
        with check("Predict", name):
            case = plan.cases[f"fruit {version}"]
            answer = stub.Predict(_predict_request(case, model_spec=spec))
            case.outputs["logits"].assert_equal(tf.make_ndarray(answer.outputs["logits"]))
            equal((answer.model_spec.name, answer.model_spec.version.value), ("fruit", version))
            equal(answer.model_spec.signature_name, "serving_default")
    with check("Predict, errors", "an unknown label"), refused("nothing", exception=grpc.RpcError):
        stub.Predict(_predict_request(plan.cases["fruit 1"], model_spec=_spec("fruit", label="nothing")))


def check_classify(stub, plan):
    for key, signature in (("fruit 1", "fruit"), ("tumor", "finding"), ("churn", "churn")):
        case = plan.cases[key]
        [scores] = case.scores.values()
        with check("Classify", {"fruit 1": "several labels", "tumor": "two labels", "churn": "several features"}[key]):
            request = classification_pb2.ClassificationRequest(model_spec=_spec(case), input=_examples(case))
            _assert_classes(stub.Classify(request).result, scores)
        with check("Classify", "by the name of the head"):
            spec = _spec(case, signature=signature)
            request = classification_pb2.ClassificationRequest(model_spec=spec, input=_examples(case))
            answer = stub.Classify(request)
            _assert_classes(answer.result, scores)
            equal(answer.model_spec.signature_name, signature)
    with check("Classify", "an example with a context"):
        case = plan.cases["churn"]
        example = _examples(case).example_list.examples[-1]
        context = tf.train.Example(features={"feature": {"plan": example.features.feature.pop("plan")}})
        with_context = input_pb2.Input(example_list_with_context={"examples": [example], "context": context})
        request = classification_pb2.ClassificationRequest(model_spec=_spec(case), input=with_context)
        _assert_classes(stub.Classify(request).result, case.scores["logit"][-1:])
    with check("Classify", "a missing feature: INVALID_ARGUMENT"):
        examples = _examples(plan.cases["churn"])
        del examples.example_list.examples[0].features.feature["age"]
        request = classification_pb2.ClassificationRequest(model_spec=_spec("churn"), input=examples)
        with refused("INVALID_ARGUMENT", "age", exception=grpc.RpcError):
            stub.Classify(request)
    with check("Classify", "a model of numbers: INVALID_ARGUMENT"):
        request = classification_pb2.ClassificationRequest(
            model_spec=_spec("price"), input=_examples(plan.cases["price"])
        )
        with refused("INVALID_ARGUMENT", exception=grpc.RpcError):
            stub.Classify(request)


def check_regress(stub, plan):
    case = plan.cases["price"]
    for name, spec in (("", _spec(case)), ("by the name of the head", _spec(case, signature="price"))):
        with check("Regress", name):
            answer = stub.Regress(regression_pb2.RegressionRequest(model_spec=spec, input=_examples(case)))
            _assert_values(answer.result, case)


def check_multi_inference(stub, plan):
    case = plan.cases["fruit 1"]
    with check("MultiInference"):
        task = inference_pb2.InferenceTask(model_spec=_spec(case), method_name=CLASSIFY)
        request = inference_pb2.MultiInferenceRequest(tasks=[task], input=_examples(case))
        [result] = stub.MultiInference(request).results
        _assert_classes(result.classification_result, case.scores["logits"])
    with check("MultiInference", "of numbers"):
        task = inference_pb2.InferenceTask(model_spec=_spec("price"), method_name=REGRESS)
        request = inference_pb2.MultiInferenceRequest(tasks=[task], input=_examples(plan.cases["price"]))
        [result] = stub.MultiInference(request).results
        _assert_values(result.regression_result, plan.cases["price"])


def check_metadata(stub):
    with check("GetModelMetadata"):
        request = get_model_metadata_pb2.GetModelMetadataRequest(
            model_spec=_spec("churn"), metadata_field=["signature_def"]
        )
        signatures = get_model_metadata_pb2.SignatureDefMap()
        assert stub.GetModelMetadata(request).metadata["signature_def"].Unpack(signatures)
        default = signatures.signature_def["serving_default"]
        equal(default.method_name, "tensorflow/serving/predict")
        described = {
            name: (info.dtype, [dim.size for dim in info.tensor_shape.dim]) for name, info in default.inputs.items()
        }
        equal(described, {"age": (tf.float32, [-1, 1]), "visits": (tf.int64, [-1, 1]), "plan": (tf.string, [-1, 1])})
        equal(signatures.signature_def["churn"].method_name, CLASSIFY)
    for name, fields in (("no field", []), ("an unknown field", ["nothing"])):
        with (
            check("GetModelMetadata", f"{name}: INVALID_ARGUMENT"),
            refused("INVALID_ARGUMENT", exception=grpc.RpcError),
        ):
            stub.GetModelMetadata(
                get_model_metadata_pb2.GetModelMetadataRequest(model_spec=_spec("churn"), metadata_field=fields)
            )


def check_status(stub):
    def states(spec):
        answer = stub.GetModelStatus(get_model_status_pb2.GetModelStatusRequest(model_spec=spec))
        return {status.version: status.state for status in answer.model_version_status}

    with check("GetModelStatus"):
        equal(states(_spec("fruit")), {1: AVAILABLE, 2: AVAILABLE})
    with check("GetModelStatus", "a version"):
        equal(states(_spec("fruit", version=1)), {1: AVAILABLE})
    with check("GetModelStatus", "a label"):
        equal(states(_spec("fruit", label="canary")), {2: AVAILABLE})
    with check("GetModelStatus", "an unknown model: NOT_FOUND"), refused("NOT_FOUND", exception=grpc.RpcError):
        states(_spec("nothing"))


def check_labels(predictions, models, plan):
    names = sorted({case.model for case in plan.cases.values()})

    def reload_config(labels, without=()):
        configs = [
            model_server_config_pb2.ModelConfig(name=name, version_labels=labels if name == "fruit" else {})
            for name in names
            if name not in without
        ]
        config = {"model_config_list": {"config": configs}}
        return models.HandleReloadConfigRequest(model_management_pb2.ReloadConfigRequest(config=config))

    with check("HandleReloadConfigRequest", "labels"):
        equal(reload_config({"stable": 2, "previous": 1}).status.error_code, 0)
        for label, version in (("stable", 2), ("previous", 1)):
            case = plan.cases[f"fruit {version}"]
            answer = predictions.Predict(_predict_request(case, model_spec=_spec("fruit", label=label)))
            case.outputs["logits"].assert_equal(tf.make_ndarray(answer.outputs["logits"]))
        with refused("canary", exception=grpc.RpcError):
            predictions.Predict(_predict_request(case, model_spec=_spec("fruit", label="canary")))
    with check("HandleReloadConfigRequest", "a label for a version that is not ready: FAILED_PRECONDITION"):
        with refused("FAILED_PRECONDITION", exception=grpc.RpcError):
            reload_config({"stable": 9})
        predictions.Predict(_predict_request(plan.cases["fruit 2"], model_spec=_spec("fruit", label="stable")))
    with check("HandleReloadConfigRequest", "a model taken away and given back"):
        case = plan.cases["spare"]
        reload_config({}, without=["spare"])
        with refused("spare", exception=grpc.RpcError):
            predictions.Predict(_predict_request(case))
        reload_config({})
        _assert_predicts(predictions, case)


def _spec(case, version=0, label="", signature=""):
    """Make a ModelSpec of a model's name, or of what a case asks."""
    if not isinstance(case, str):
        case, version = case.model, int(case.version or 0)
    spec = model_pb2.ModelSpec(name=case, signature_name=signature)
    if version:
        spec.version.CopyFrom(Int64Value(value=version))
    elif label:
        spec.version_label = label
    return spec


def _dtype(tensor):
    return {"BYTES": tf.string, "BF16": tf.bfloat16}.get(tensor.datatype) or tf.as_dtype(tensor.array.dtype)


def _proto(tensor):
    return tf.make_tensor_proto(tensor.array, dtype=_dtype(tensor), shape=tensor.shape)


def _typed_proto(tensor):
    """Make a TensorProto without tensor_content, as clients do that fill the lists themselves."""
    dtype = _dtype(tensor)
    proto = tf.make_tensor_proto(np.zeros([1], dtype.as_numpy_dtype))
    proto.ClearField("tensor_content")
    field = {
        tf.float16: "half_val", tf.bfloat16: "half_val", tf.float32: "float_val", tf.float64: "double_val",
        tf.int64: "int64_val", tf.bool: "bool_val", tf.uint32: "uint32_val", tf.uint64: "uint64_val",
    }.get(dtype, "int_val")  # fmt: skip
    elements = np.frombuffer(tensor.raw(), np.uint16) if field == "half_val" else tensor.array
    getattr(proto, field)[:] = elements.ravel().tolist()
    proto.tensor_shape.CopyFrom(tf.TensorShape(tensor.shape).as_proto())
    return proto


def _predict_request(case, make=_proto, **fields):
    inputs = {name: make(tensor) for name, tensor in case.inputs.items()}
    return predict_pb2.PredictRequest(**({"model_spec": _spec(case), "inputs": inputs} | fields))


def _assert_predicts(stub, case, make=_proto):
    answer = stub.Predict(_predict_request(case, make))
    for name, tensor in case.outputs.items():
        tensor.assert_equal(tf.make_ndarray(answer.outputs[name]))


def _examples(case):
    examples = []
    for row in range(case.rows):
        features = {}
        for name, tensor in case.inputs.items():
            kind = {"BYTES": "bytes_list", "INT64": "int64_list"}.get(tensor.datatype, "float_list")
            features[name] = tf.train.Feature(**{kind: {"value": tensor.array[row].ravel().tolist()}})
        examples.append(tf.train.Example(features={"feature": features}))
    return input_pb2.Input(example_list={"examples": examples})


def _assert_classes(result, expected):
    equal(len(result.classifications), len(expected))
    for classifications, row in zip(result.classifications, expected, strict=True):
        scores = {each.label: each.score for each in classifications.classes}
        equal(set(scores), {label for label, _ in row})
        for label, score in row:
            np.testing.assert_allclose(scores[label], score, atol=1e-5)


def _assert_values(result, case):
    [tensor] = case.outputs.values()
    np.testing.assert_allclose([each.value for each in result.regressions], tensor.array.ravel(), rtol=1e-5)


if __name__ == "__main__":
    main(*sys.argv[1:])

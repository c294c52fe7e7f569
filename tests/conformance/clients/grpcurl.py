"""grpcurl, which learns all messages by reflection: `grpcurl.py <plan> <program>`."""

import base64
import json
import sys

from checks import check, client, equal, refused
from plan import read_plan
from programs import json_requests, run

SERVICES = (
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
    "headgate.v1.PredictionService",
    "inference.GRPCInferenceService",
    "tensorflow.serving.ModelService",
    "tensorflow.serving.PredictionService",
)
INFERENCE = "inference.GRPCInferenceService"
HEADGATE = "headgate.v1.PredictionService"
SERVING = "tensorflow.serving"


def main(plan_path, program):
    client("grpcurl", program.rpartition("-v")[2])
    plan = read_plan(plan_path)

    def ask(*words, options=()):
        is_unix = plan.grpc.startswith("unix:")
        connect = ["-cacert", plan.authority] if plan.authority else ["-plaintext"]
        return run([program, *connect, *["-unix"] * is_unix, *options, plan.grpc.removeprefix("unix:"), *words])

    def call(method, *requests):
        data = " ".join(json.dumps(request) for request in requests) or "{}"
        return _objects(ask(method, options=["-d", data]))

    check_services(ask)
    if plan.only_main:
        check_health(call)
        check_predictions(call, plan)
        return
    check_reflection(ask)
    check_health(call)
    check_models(call)
    check_predictions(call, plan)
    with check(f"{INFERENCE}/ModelInfer", "an unknown model: an error"), refused("NotFound", "nothing"):
        call(f"{INFERENCE}/ModelInfer", {"model_name": "nothing"})


def check_services(ask):
    with check("reflection", "list"):
        equal(set(ask("list").split()), set(SERVICES))


def check_reflection(ask):
    for service in SERVICES:
        with check("reflection", f"describe {service}"):
            assert f"service {service.rpartition('.')[2]} {{" in ask("describe", service)
    with check("reflection", "describe a message"):
        text = ask("describe", "headgate.v1.PredictRequest")
        assert "repeated .headgate.v1.Tensor inputs = 4;" in text, text


def check_health(call):
    with check("grpc.health.v1.Health/Check"):
        equal(call("grpc.health.v1.Health/Check"), [{"status": "SERVING"}])


def check_models(call):
    for method, request, expected in (
        (f"{INFERENCE}/ServerLive", {}, {"live": True}),
        (f"{INFERENCE}/ServerReady", {}, {"ready": True}),
        (f"{INFERENCE}/ModelReady", {"name": "fruit"}, {"ready": True}),
        (f"{INFERENCE}/ServerMetadata", {}, {"name": "headgate"}),
        (f"{INFERENCE}/ModelMetadata", {"name": "fruit"}, {"name": "fruit", "platform": "onnxruntime_onnx"}),
        (f"{INFERENCE}/SystemSharedMemoryStatus", {}, {}),
        (f"{INFERENCE}/LogSettings", {}, {}),
        (f"{INFERENCE}/TraceSetting", {}, {}),
        (f"{INFERENCE}/RepositoryModelUnload", {"model_name": "spare"}, {}),
        (f"{INFERENCE}/RepositoryModelLoad", {"model_name": "spare"}, {}),
    ):
        with check(method):
            [answer] = call(method, request)
            equal({key: answer.get(key) for key in expected}, expected)
    with check(f"{INFERENCE}/ModelConfig"):
        [answer] = call(f"{INFERENCE}/ModelConfig", {"name": "fruit"})
        equal(answer["config"]["input"], [{"name": "features", "dataType": "TYPE_FP32", "dims": ["3"]}])
    with check(f"{INFERENCE}/ModelStatistics"):
        [answer] = call(f"{INFERENCE}/ModelStatistics", {"name": "fruit"})
        equal({each["version"] for each in answer["modelStats"]}, {"1", "2"})
    with check(f"{INFERENCE}/RepositoryIndex"):
        [answer] = call(f"{INFERENCE}/RepositoryIndex")
        assert {"name": "sums", "version": "1", "state": "READY"} in answer["models"], answer
    with check(f"{HEADGATE}/ListModels"):
        [answer] = call(f"{HEADGATE}/ListModels")
        assert ("fruit", "2") in [(each["name"], each["version"]) for each in answer["models"]], answer
    with check(f"{HEADGATE}/GetModel"):
        [answer] = call(f"{HEADGATE}/GetModel", {"name": "fruit"})
        equal(answer["signature"]["heads"][0]["multiclass"]["labels"], ["apple", "pear", "plum"])
    with check(f"{HEADGATE}/GetStatistics"):
        call(f"{HEADGATE}/GetStatistics")
    with check(f"{SERVING}.PredictionService/GetModelMetadata"):
        request = {"model_spec": {"name": "fruit"}, "metadata_field": ["signature_def"]}
        [answer] = call(f"{SERVING}.PredictionService/GetModelMetadata", request)
        default = answer["metadata"]["signature_def"]["signatureDef"]["serving_default"]
        equal(default["inputs"]["features"]["dtype"], "DT_FLOAT")
    with check(f"{SERVING}.ModelService/GetModelStatus"):
        [answer] = call(f"{SERVING}.ModelService/GetModelStatus", {"model_spec": {"name": "price"}})
        equal([(each["version"], each["state"]) for each in answer["model_version_status"]], [("1", "AVAILABLE")])


def check_predictions(call, plan):
    case = plan.cases["fruit 1"]
    logits = case.outputs["logits"]
    best = [max(row, key=lambda label_score: label_score[1])[0] for row in case.scores["logits"]]
    requests = json_requests(case)

    def assert_infers(answer):
        equal(base64.b64decode(answer["rawOutputContents"][0]), logits.raw())

    def assert_predicts(answer):
        equal(answer["predictions"][0]["multiclass"]["labels"], best)

    with check(f"{INFERENCE}/ModelInfer"):
        [answer] = call(f"{INFERENCE}/ModelInfer", requests[f"{INFERENCE}/ModelInfer"])
        assert_infers(answer)
    with check(f"{INFERENCE}/ModelStreamInfer"):
        answers = call(f"{INFERENCE}/ModelStreamInfer", *[requests[f"{INFERENCE}/ModelInfer"]] * 3)
        equal(len(answers), 3)
        for answer in answers:
            assert_infers(answer["inferResponse"])
    with check(f"{HEADGATE}/Predict"):
        [answer] = call(f"{HEADGATE}/Predict", requests[f"{HEADGATE}/Predict"])
        assert_predicts(answer)
    with check(f"{HEADGATE}/StreamPredict"):
        answers = call(f"{HEADGATE}/StreamPredict", *[requests[f"{HEADGATE}/Predict"]] * 3)
        equal(len(answers), 3)
        for answer in answers:
            assert_predicts(answer["response"])
    predict, classify = f"{SERVING}.PredictionService/Predict", f"{SERVING}.PredictionService/Classify"
    with check(predict):
        [answer] = call(predict, requests[predict])
        output = answer["outputs"]["logits"]
        equal([int(dim["size"]) for dim in output["tensorShape"]["dim"]], logits.shape)
    with check(classify):
        [answer] = call(classify, requests[classify])
        equal([each["classes"][0]["label"] for each in answer["result"]["classifications"]], best)


def _objects(text):
    """Read JSON objects that follow each other."""
    decoder, objects, position = json.JSONDecoder(), [], 0
    while position < len(text):
        found, position = decoder.raw_decode(text, position)
        objects.append(found)
        position += len(text[position:]) - len(text[position:].lstrip())
    return objects


if __name__ == "__main__":
    main(*sys.argv[1:])

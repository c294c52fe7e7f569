"""ghz, a load generator that learns all messages by reflection: `ghz.py <plan> <program>`."""

import json
import sys

from checks import check, client, equal
from plan import read_plan
from programs import json_requests, run

CALLS = 400
STREAMS = {
    "inference.GRPCInferenceService/ModelInfer": "inference.GRPCInferenceService/ModelStreamInfer",
    "headgate.v1.PredictionService/Predict": "headgate.v1.PredictionService/StreamPredict",
}


def main(plan_path, program):
    client("ghz", program.rpartition("-v")[2])
    plan = read_plan(plan_path)
    for method, request in json_requests(plan.cases["fruit 1"]).items():
        with check(method):
            _assert_all_succeed(program, plan, method, request)
        if method in STREAMS:
            with check(STREAMS[method]):
                _assert_all_succeed(program, plan, STREAMS[method], [request] * 5)
    with check("grpc.health.v1.Health/Check"):
        _assert_all_succeed(program, plan, "grpc.health.v1.Health/Check", {})


def _assert_all_succeed(program, plan, method, request):
    connect = ["--cacert", plan.authority] if plan.authority else ["--insecure"]
    options = [*connect, "-n", f"{CALLS}", "-c", "8", "--connections", "2", "-O", "json", "--call", method]
    report = json.loads(run([program, *options, "-d", json.dumps(request), plan.grpc]))
    equal(report["statusCodeDistribution"], {"OK": CALLS})


if __name__ == "__main__":
    main(*sys.argv[1:])

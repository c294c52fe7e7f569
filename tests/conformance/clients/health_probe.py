"""grpc-health-probe: `health_probe.py <plan> <program>`."""

import sys

from checks import check, client
from plan import read_plan
from programs import run

CALL = "grpc.health.v1.Health/Check"
SERVICES = (
    "headgate.v1.PredictionService",
    "inference.GRPCInferenceService",
    "tensorflow.serving.PredictionService",
)


def main(plan_path, program):
    client("grpc-health-probe", program.rpartition("-v")[2])
    address = f"-addr={read_plan(plan_path).grpc}"
    with check(CALL):
        run([program, address])
    for service in SERVICES:
        with check(CALL, service):
            run([program, address, f"-service={service}"])
    with check(CALL, "an unknown service: an error"):
        run([program, address, "-service=nothing"], returncode=3)


if __name__ == "__main__":
    main(*sys.argv[1:])

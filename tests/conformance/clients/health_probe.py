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
    plan = read_plan(plan_path)
    tls = ["-tls", f"-tls-ca-cert={plan.authority}"] if plan.authority else []
    command = [program, f"-addr={plan.grpc}", *tls]
    with check(CALL):
        run(command)
    for service in SERVICES:
        with check(CALL, service):
            run([*command, f"-service={service}"])
    with check(CALL, "an unknown service: an error"):
        run([*command, "-service=nothing"], returncode=3)


if __name__ == "__main__":
    main(*sys.argv[1:])

"""Running a program that asks."""

import subprocess

TIMEOUT_S = 120


def run(command, returncode=0):
    """Run a command and return its stdout; it has to end with the given status."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=TIMEOUT_S)
    if done.returncode != returncode:
        last = " ".join((done.stderr or done.stdout).splitlines()[-3:])
        raise AssertionError(f"ended with {done.returncode}, expected {returncode}: {last}")
    return done.stdout + done.stderr


def json_requests(case):
    """Return, by the method's full name, the JSON of a request that each protocol makes of a case of one input."""
    [(name, tensor)] = case.inputs.items()
    elements = tensor.array.ravel().tolist()
    examples = [{"features": {"feature": {name: {"floatList": {"value": row}}}}} for row in tensor.array.tolist()]
    spec = {"name": case.model, "version": case.version}
    shape = {"dim": [{"size": size} for size in tensor.shape]}
    return {
        "inference.GRPCInferenceService/ModelInfer": {
            "model_name": case.model,
            "model_version": case.version,
            "inputs": [
                {"name": name, "datatype": "FP32", "shape": tensor.shape, "contents": {"fp32_contents": elements}}
            ],
        },
        "headgate.v1.PredictionService/Predict": {
            "model": case.model,
            "version": case.version,
            "inputs": [{"shape": tensor.shape, "floats": elements}],
        },
        "tensorflow.serving.PredictionService/Predict": {
            "model_spec": spec,
            "inputs": {name: {"dtype": "DT_FLOAT", "tensor_shape": shape, "float_val": elements}},
        },
        "tensorflow.serving.PredictionService/Classify": {
            "model_spec": spec,
            "input": {"example_list": {"examples": examples}},
        },
    }

"""Run ONNX's own tests of operators with sizes of 0: a process of its own, which a kernel may end.

Each line is an operator, the shapes of its inputs, and what came of them.
"""

import warnings
from contextlib import suppress

import numpy as np
import onnxruntime
from onnx.backend.test.case.node import collect_testcases

from headgate.server.operators import names_of, tried

#: Of ONNX's operators: what the oldest onnxruntime knows.
OLDEST_OPSET = 21


def cases():
    """Go through models of operators that were tried, with their inputs."""
    for case in collect_testcases(None):
        operators = set(names_of(memoryview(case.model.SerializeToString())))
        inputs = case.data_sets[0][0] if case.data_sets else []
        if operators <= tried() and all(isinstance(each, np.ndarray | np.generic) for each in inputs):
            yield case.model, "+".join(sorted(operators)), list(map(np.asarray, inputs))


def session_of(model):
    """Load a model whose sizes are all free; None where this onnxruntime cannot."""
    for value in [*model.graph.input, *model.graph.output, *model.graph.value_info]:
        value.type.tensor_type.ClearField("shape")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    model.ir_version = min(model.ir_version, 10)
    for opset in (None, OLDEST_OPSET):
        for each in model.opset_import:
            if opset and each.domain in ("", "ai.onnx"):
                each.version = min(each.version, opset)
        with suppress(Exception):
            return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return None


def shapes_with_zeros(arrays):
    """Return each size set to 0 alone, and together with those that are equal."""
    shapes = [array.shape for array in arrays]
    found = []
    for index, shape in enumerate(shapes):
        for axis, size in enumerate(shape):
            alone = [list(each) for each in shapes]
            alone[index][axis] = 0
            found += [alone, [[0 if other == size else other for other in each] for each in shapes]]
    return [list(each) for each in {tuple(map(tuple, shapes)) for shapes in found}]


def main():
    warnings.simplefilter("ignore")
    for model, operators, inputs in cases():
        session = session_of(model)
        # Some tests leave inputs out; some have types that numpy lacks.
        if (
            session is None
            or len(session.get_inputs()) != len(inputs)
            or {each.dtype.kind for each in inputs} - set("biufO")
        ):
            continue
        for shapes in shapes_with_zeros(inputs):
            print(operators, shapes, end=" ", flush=True)
            feed = {
                each.name: array[tuple(map(slice, shape))]
                for each, array, shape in zip(session.get_inputs(), inputs, shapes, strict=True)
            }
            try:
                session.run(None, feed)
                print("ran", flush=True)
            except Exception:
                print("refused", flush=True)
    print("done")


if __name__ == "__main__":
    main()

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from headgate.exporter.evaluation.models import evaluate_model, open_model
from headgate.exporter.evaluation.scorer import EvaluationSettings
from headgate.exporter.model_files import add_metadata
from headgate.v1 import Signature, TensorSpec
from headgate.v1.signatures import METADATA_KEY, SCHEMA_VERSION, signature_to_json


@pytest.fixture
def model_file(tmp_path):
    """Write a model whose output `out` is its input `x`: `model_file(shape_of_a_row, head, ...)`."""

    def write(shape, *heads, path=tmp_path / "model.onnx"):
        x, out = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", *shape]) for name in ("x", "out"))
        graph = helper.make_graph([helper.make_node("Identity", ["x"], ["out"])], "identity", [x], [out])
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
        inputs, outputs = (
            [TensorSpec(name=name, datatype="DATA_TYPE_FP32", shape=[-1, *shape])] for name in ("x", "out")
        )
        signature = Signature(schema_version=SCHEMA_VERSION, inputs=inputs, outputs=outputs, heads=heads)
        add_metadata(path, METADATA_KEY, signature_to_json(signature))
        return path

    return write


@pytest.fixture
def scorer_of(model_file):
    """Score a head that reads `out`, in batches of 7 rows: `scorer_of(head, out, y=...)`."""

    def score(head, out, threshold=None, level=None, **targets):
        model = open_model(model_file(np.shape(out)[1:], head))
        settings = EvaluationSettings(threshold, level, batch_rows=7)
        [scorer] = evaluate_model(model, model.read({"x": np.float32(out), **targets}), settings=settings)
        return scorer

    return score


@pytest.fixture
def evaluate(scorer_of):
    """The same, and return what was found."""
    return lambda *arguments, **named: scorer_of(*arguments, **named).evaluation()


@pytest.fixture
def table_of():
    """Return the lines of a table by their first cell."""

    def lines(evaluation, title):
        [table] = [table for table in evaluation.scores.tables if table.title == title]
        return {line[0]: dict(zip(table.header, line, strict=True)) for line in table.lines}

    return lines

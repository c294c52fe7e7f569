"""The answers that numpy computed are those of onnxruntime."""

import numpy as np
import onnxruntime
import pytest

from tests.conformance.models import LOADED_AT_START, make_cases, write_models

CASES = make_cases()
# onnxruntime's Python takes neither.
RUN_HERE = [name for name in CASES if name not in ("BF16", "BYTES, not UTF-8", "busy")]


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    write_models(folder)
    return folder


@pytest.mark.parametrize("name", RUN_HERE)
def test_answers(repository, name):
    case = CASES[name]
    path = repository / case.model / (case.version or "1") / "model.onnx"
    session = onnxruntime.InferenceSession(str(path))
    decode = np.vectorize(bytes.decode, otypes=[object])
    inputs = {
        key: decode(tensor.array) if tensor.datatype == "BYTES" else tensor.array for key, tensor in case.inputs.items()
    }
    for output, array in zip(session.get_outputs(), session.run(None, inputs), strict=True):
        case.outputs[output.name].assert_equal(array)


def test_scores_are_probabilities():
    scores = [rows for case in CASES.values() for rows in case.scores.values()]
    assert len(scores) == 4
    for rows in scores:
        np.testing.assert_allclose([sum(score for _, score in row) for row in rows], 1, rtol=1e-6)


def test_all_models_are_asked_for(repository):
    written = {folder.name for folder in repository.iterdir()}
    assert written == {case.model for case in CASES.values()} == set(LOADED_AT_START)

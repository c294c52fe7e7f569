import hashlib

import keras
import numpy as np
import pytest

from headgate.exporter import export_model
from headgate.exporter.proof.golden import MAX_BYTES, golden_examples
from headgate.exporter.proof.keras_runs import KerasRun
from headgate.server import ModelConfig, StartupError
from headgate.server.model import LoadedModel
from headgate.v1.golden import GOLDEN_FILE, golden_from_bytes
from headgate.v1.tensors import numpy_from_tensor


def run_of(rows, columns=2, origin="random"):
    array = np.ones((rows, columns), np.float32)
    return KerasRun(origin, {"x": array}, {"y": array[:, :1]}, [])


@pytest.mark.parametrize(
    ("runs", "rows"),
    [
        ([run_of(1), run_of(3), run_of(17)], 3),
        ([run_of(1), run_of(3, MAX_BYTES // 8), run_of(17)], 1),
        ([run_of(1, MAX_BYTES), run_of(3, MAX_BYTES)], None),
    ],
)
def test_as_many_rows_as_there_is_room_for(runs, rows):
    content = golden_examples(runs, [], [])
    assert (None if content is None else golden_from_bytes(content).response.rows) == rows


def test_examples_that_were_given_go_first(tmp_path, dense, rng):
    examples = rng.normal(size=(5, 4)).astype("float32")
    model = dense(3, "softmax")
    report = export_model(model, tmp_path, examples=examples, labels=["a", "b", "c"])
    content = report.path.with_name(GOLDEN_FILE).read_bytes()
    assert report.signature.verification.golden_examples_sha256 == hashlib.sha256(content).hexdigest()
    golden = golden_from_bytes(content)
    np.testing.assert_array_equal(numpy_from_tensor(golden.request.inputs[0]), examples[:3])
    expected = model.predict(examples[:3], verbose=0)
    np.testing.assert_allclose(numpy_from_tensor(golden.outputs[0]), expected, rtol=1e-6)
    labels = golden.response.predictions[0].multiclass.labels
    assert list(labels) == [("a", "b", "c")[best] for best in expected.argmax(axis=1)]


def test_servers_compare_them(tmp_path, two_heads):
    """From Keras to a server, and a file that was exchanged afterwards."""

    def load(path):
        LoadedModel("m", 1, path, ModelConfig(), "CPUExecutionProvider").close()

    path = export_model(two_heads(), tmp_path, name="m").path
    load(path)
    keras.utils.set_random_seed(8)
    other = export_model(two_heads(), tmp_path, name="other").path
    load(other)
    path.with_name(GOLDEN_FILE).write_bytes(other.with_name(GOLDEN_FILE).read_bytes())
    with pytest.raises(StartupError, match="it is damaged, or belongs to another export"):
        load(path)


def test_exports_are_the_same_each_time(tmp_path, dense):
    model = dense(2)
    files = [export_model(model, tmp_path, name=name).path.with_name(GOLDEN_FILE) for name in ("one", "two")]
    assert files[0].read_bytes() == files[1].read_bytes()

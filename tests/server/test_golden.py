"""Models whose answers are not those of their golden examples are not served."""

import hashlib
import logging

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from headgate.decoders import DecodeOptions, decoder_for
from headgate.server import BatchingConfig, ModelConfig, StartupError
from headgate.server.model import LoadedModel
from headgate.server.model_control import ModelControl
from headgate.server.repository import ModelRepository, ModelState
from headgate.v1 import PaddedInput, PaddedOutput, Padding, PredictOptions, TensorSpec, Tolerance, Verification
from headgate.v1.golden import GOLDEN_FILE, golden_to_bytes
from headgate.v1.signatures import METADATA_KEY, signature_from_json, signature_to_json
from headgate.v1.tensors import BFLOAT16, convert, data_type_of

ROWS = np.array([[1, 2, 3, 0], [4, 0, 1, 9], [0, 7, 0, 0]], np.float32)
#: What Keras is said to answer to them: each unit is off by another error.
OFF = ROWS[:, :3] + np.array([5, 0.01, 0], np.float32)
SAME = "g (float[batch,n] x) => (float[batch,n] y) { y = Identity(x) }"


@pytest.fixture
def write_golden(tmp_path, write_model):
    """Write a model with golden examples: of the inputs, and of outputs that are said to be those of Keras."""

    def write(name, inputs, outputs, graph=None, tolerances=(), paddings=(), **other):
        path = write_model(tmp_path, name, graph, **other)
        model = onnx.load(path)
        metadata = {entry.key: entry.value for entry in model.metadata_props}
        signature = signature_from_json(metadata.get(METADATA_KEY, '{"schema_version": 1}'))
        options = PredictOptions(include_probabilities=True)
        specs = [
            TensorSpec(name=name, datatype=data_type_of(array.dtype), shape=[-1, *array.shape[1:]])
            for name, array in outputs.items()
        ]
        predictions = {
            head.name: decoder_for(head, specs).decode(outputs, DecodeOptions(include_probabilities=True))
            for head in signature.heads
        }
        content = golden_to_bytes(inputs, outputs, options, predictions)
        path.with_name(GOLDEN_FILE).write_bytes(content)
        signature.paddings.extend(paddings)
        signature.verification.CopyFrom(
            Verification(tolerances=tolerances, golden_examples_sha256=hashlib.sha256(content).hexdigest())
        )
        onnx.helper.set_model_props(model, {METADATA_KEY: signature_to_json(signature)})
        onnx.save(model, path)
        return path

    return write


def of_units(*absolute):
    return Tolerance(output="logits", absolute=max(absolute), unit_absolute=absolute)


def load(path, **batching):
    config = ModelConfig(batching=BatchingConfig(**batching))
    LoadedModel(path.parent.parent.name, 1, path, config, "CPUExecutionProvider").close()


def refusal(path):
    with pytest.raises(StartupError) as caught:
        load(path)
    message = str(caught.value)
    assert message.startswith(f"{path.with_name(GOLDEN_FILE)}: ")
    assert message.endswith("export the model again, or delete golden.binpb to serve it unproven")
    assert "\n" not in message
    return message


def change_initializer(path, change):
    model = onnx.load(path)
    tensor = model.graph.initializer[0]
    tensor.CopyFrom(numpy_helper.from_array(change(numpy_helper.to_array(tensor).copy()), tensor.name))
    onnx.save(model, path)


class TestAccepted:
    @pytest.mark.parametrize("max_batch_size", [1, 2, 64])
    def test_right_answers(self, write_golden, max_batch_size):
        load(write_golden("iris", {"x": ROWS}, {"logits": ROWS[:, :3]}), max_batch_size=max_batch_size)

    def test_within_the_tolerance(self, write_golden):
        keras = ROWS[:, :3] + np.float32(0.01)
        load(
            write_golden("iris", {"x": ROWS}, {"logits": keras}, tolerances=[Tolerance(output="logits", absolute=0.02)])
        )

    def test_within_the_tolerance_of_each_unit(self, write_golden):
        load(write_golden("iris", {"x": ROWS}, {"logits": OFF}, tolerances=[of_units(9, 0.02, 0.001)]))

    def test_bfloat16(self, write_golden):
        graph = "g (bfloat16[batch,4] x) => (bfloat16[batch,4] y) { y = Identity(x) }"
        load(write_golden("raw", {"x": convert(ROWS, BFLOAT16)[0]}, {"y": ROWS}, graph))
        assert "output 'y' differs from Keras' own" in refusal(
            write_golden("off", {"x": convert(ROWS, BFLOAT16)[0]}, {"y": ROWS + np.float32(0.5)}, graph)
        )

    def test_text_and_several_outputs(self, write_golden):
        words = np.array([["a"], ["ż"]], object)
        load(write_golden("text", {"x": words}, {"y": words}))
        outputs = {"same": ROWS[:, :2], "total": ROWS[:, :2].sum(1, keepdims=True)}
        load(write_golden("twins", {"x": ROWS[:, :2]}, outputs))

    def test_free_sizes_that_are_filled_up(self, write_golden):
        padding = Padding(inputs=[PaddedInput(input="x", axis=1)], outputs=[PaddedOutput(output="y", axis=1)])
        load(write_golden("same", {"x": ROWS}, {"y": ROWS}, SAME, heads=(), paddings=[padding]))

    def test_no_file(self, write_golden, caplog):
        path = write_golden("iris", {"x": ROWS}, {"logits": ROWS[:, 1:]})
        refusal(path)
        path.with_name(GOLDEN_FILE).unlink()
        load(path)
        assert f"{path.with_name(GOLDEN_FILE)} is missing, so that nothing proves" in caplog.text


class TestRefused:
    def test_weights_that_were_changed(self, write_golden):
        path = write_golden(
            "iris", {"x": ROWS}, {"logits": ROWS[:, :3]}, tolerances=[Tolerance(output="logits", absolute=1e-4)]
        )
        load(path)
        change_initializer(path, lambda weights: weights + np.eye(4, 3, -3, np.float32) / 4)
        assert (
            "output 'logits' differs from Keras' own: CPUExecutionProvider gives 6.25 instead of 4 in row 1 at [0], "
            "allowed is 0.0001 + 0 of the value"
        ) in refusal(path)

    def test_a_small_unit_beside_a_large_one(self, write_golden):
        path = write_golden("iris", {"x": ROWS}, {"logits": OFF}, tolerances=[of_units(9, 0.001, 0.001)])
        assert "7 instead of 7.01 in row 2 at [1], allowed is 0.001 + 0 of the value" in refusal(path)

    def test_labels_that_were_changed(self, write_golden):
        path = write_golden("iris", {"x": ROWS}, {"logits": ROWS[:, :3]})
        model = onnx.load(path)
        text = model.metadata_props[0].value.replace("setosa", "virginia")
        onnx.helper.set_model_props(model, {METADATA_KEY: text})
        onnx.save(model, path)
        assert "head 'species' decides otherwise than at export, in row 1" in refusal(path)

    def test_a_damaged_file(self, write_golden):
        path = write_golden("iris", {"x": ROWS}, {"logits": ROWS[:, :3]})
        golden = path.with_name(GOLDEN_FILE)
        content = golden.read_bytes()
        for damaged in (b"", content[:-1], content[:40] + b"\xff" + content[41:]):
            golden.write_bytes(damaged)
            assert "it is damaged, or belongs to another export: its SHA-256 is not the one" in refusal(path)

    def test_inputs_of_another_model(self, write_golden):
        assert "input 'x' has shape [1,3], the model takes [batch,4]" in refusal(
            write_golden("iris", {"x": ROWS[:, :3]}, {"logits": ROWS[:, :3]})
        )

    def test_a_model_that_fails(self, write_golden, caplog):
        assert "the model failed on this request" in refusal(
            write_golden("lookup", {"x": np.array([[9]])}, {"y": np.zeros((1, 1), np.float32)})
        )
        assert [record.levelno for record in caplog.records if record.levelno >= logging.ERROR]
        caplog.clear()


def test_a_server_says_which_model_is_wrong(write_golden, tmp_path):
    write_golden("iris", {"x": ROWS}, {"logits": ROWS[:, ::-1][:, :3]})
    repository = ModelRepository()
    ModelControl(repository, tmp_path, ModelConfig())
    entry = repository.entry("iris")
    with pytest.raises(StartupError, match="differs from Keras' own"):
        repository.load(entry, "CPUExecutionProvider")
    assert entry.state is ModelState.UNAVAILABLE
    assert "output 'logits' differs from Keras' own" in entry.reason

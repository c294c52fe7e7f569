"""Batches put together: in memory that is used again, and without a copy where there is a single request."""

import math
import threading
from types import SimpleNamespace

import numpy as np
import onnxruntime
import pytest

from headgate.server import ModelConfig, joining
from headgate.server.dialects.open_inference import OpenInferenceDialect
from headgate.server.inputs import GivenTensor, ModelInputs
from headgate.server.joining import LARGE_BYTES
from headgate.server.model import LoadedModel
from headgate.server.session import Session
from headgate.v1 import DataType, TensorSpec

#: Two rows make a large batch.
UNITS = LARGE_BYTES // 8
#: Graphs that onnxruntime could answer with the memory of their input, as none of them has to compute anything.
PASS_ON = {
    "itself": f"g (float[batch,{UNITS}] x) => (float[batch,{UNITS}] x) {{ }}",
    "identity": f"g (float[batch,{UNITS}] x) => (float[batch,{UNITS}] y) {{ y = Identity(x) }}",
    "twice": f"g (float[batch,{UNITS}] x) => (float[batch,{UNITS}] y, float[batch,{UNITS}] z)"
    "{ y = Identity(x) z = Identity(y) }",
    "reshape": f"g (float[batch,{UNITS}] x) => (float[batch,1,{UNITS}] y) <int64[3] s = {{0,1,-1}}>"
    "{ y = Reshape(x, s) }",
    "unsqueeze": f"g (float[batch,{UNITS}] x) => (float[batch,1,{UNITS}] y) <int64[1] s = {{1}}>"
    "{ y = Unsqueeze(x, s) }",
    "flatten": f"g (float[batch,{UNITS}] x) => (float[batch,{UNITS}] y) {{ y = Flatten(x) }}",
    "dropout": f"g (float[batch,{UNITS}] x) => (float[batch,{UNITS}] y) {{ y = Dropout(x) }}",
    "cast": f"g (float[batch,{UNITS}] x) => (float[batch,{UNITS}] y) {{ y = Cast<to=1>(x) }}",
    "relu": f"g (float[batch,{UNITS}] x) => (float[batch,{UNITS}] y) {{ y = Relu(x) }}",
}


def model_inputs(units, dtype=DataType.DATA_TYPE_FP32, outputs=()):
    return ModelInputs([TensorSpec(name="x", datatype=dtype, shape=[-1, units])], outputs)


def request(inputs, array):
    buffers, rows, group = inputs.bind([GivenTensor("x", array.shape, array.tobytes())])
    return SimpleNamespace(inputs=buffers, rows=rows, group=group)


def join(inputs, *arrays):
    (joined,) = inputs.join([request(inputs, array) for array in arrays], sum(map(len, arrays)))
    return joined


def rows_of(value, count=1, units=UNITS):
    return np.full((count, units), value, np.float32)


class TestReuse:
    def test_a_large_batch_takes_the_place_of_the_last(self):
        inputs = model_inputs(UNITS)
        first = join(inputs, rows_of(1), rows_of(2))
        assert first[:, -1].tolist() == [1, 2]
        second = join(inputs, rows_of(3), rows_of(4, 2), rows_of(5))
        third = join(inputs, rows_of(6, 2), rows_of(7))
        assert third[:, 0].tolist() == third[:, -1].tolist() == [6, 6, 7]
        assert np.shares_memory(second, third)

    def test_smaller_batches_are_their_own(self):
        inputs = model_inputs(UNITS // 2)
        batches = [
            join(inputs, rows_of(value, units=UNITS // 2), rows_of(value, units=UNITS // 2)) for value in range(9)
        ]
        assert [batch[0, 0] for batch in batches] == list(range(9))

    def test_batches_beyond_the_bound_are_not_kept(self, monkeypatch):
        monkeypatch.setattr(joining, "MAX_KEPT_BYTES", LARGE_BYTES)
        inputs = model_inputs(UNITS)
        batches = [join(inputs, rows_of(value), rows_of(value, 2)) for value in range(3)]
        assert [batch[2, -1] for batch in batches] == [0, 1, 2]
        assert np.shares_memory(join(inputs, rows_of(3), rows_of(4)), join(inputs, rows_of(5), rows_of(6)))

    @pytest.mark.parametrize("data_type", [DataType.DATA_TYPE_FP64, DataType.DATA_TYPE_INT8, DataType.DATA_TYPE_BOOL])
    def test_types(self, data_type):
        inputs = model_inputs(LARGE_BYTES, data_type)
        dtype = inputs.inputs[0].dtype
        halves = [np.random.default_rng(0).integers(0, 2, (2, LARGE_BYTES)).astype(dtype) for _ in range(2)]
        joined = join(inputs, *halves)
        assert joined.dtype == dtype
        assert joined.flags.aligned
        np.testing.assert_array_equal(joined, np.concatenate(halves))

    def test_threads_do_not_share_it(self):
        """Each thread looks at its batch when all others have made theirs."""
        inputs = model_inputs(UNITS)
        barrier = threading.Barrier(4)
        seen = []

        def work(value):
            for turn in range(20):
                batch = join(inputs, rows_of(value), rows_of(turn))
                barrier.wait()
                seen.append(np.all(batch[0] == value) and np.all(batch[1] == turn))
                barrier.wait()

        threads = [threading.Thread(target=work, args=(value,)) for value in range(100, 104)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(seen) == 80
        assert all(seen)

    @pytest.mark.parametrize("name", PASS_ON)
    def test_outputs_stay_when_the_next_batch_comes(self, name, tmp_path, write_model):
        session = Session(write_model(tmp_path, name, PASS_ON[name]), "CPUExecutionProvider", 1)
        inputs = ModelInputs(session.inputs, session.outputs)
        batches = []
        for value in range(4):
            joined = inputs.join([request(inputs, rows_of(value)), request(inputs, rows_of(value))], 2)
            batches.append(session.run(joined))
        for value, outputs in enumerate(batches):
            for output in outputs:
                assert np.all(output == value)


class TestSingleRequest:
    def test_no_copy_of_the_message(self, tmp_path, write_model, infer_request, monkeypatch):
        """From a message of 4 MiB to what onnxruntime gets."""
        path = write_model(tmp_path, "image", "g (float[batch,1024,1024] x) => (float[batch,1024,1024] y) {y = Neg(x)}")
        config = ModelConfig(batching={"max_batch_size": 1}, execution={"mode": "inline", "intra_op_threads": 1})
        model = LoadedModel("image", 1, path, config, "CPUExecutionProvider")
        dialect = OpenInferenceDialect(SimpleNamespace(model=lambda name, version: model, generation=0), "")
        fed = []
        run = onnxruntime.InferenceSession.run

        def watched_run(session, names, feeds, options):
            fed.append(feeds["x"])
            return run(session, names, feeds, options)

        monkeypatch.setattr(onnxruntime.InferenceSession, "run", watched_run)
        answers = []
        call = SimpleNamespace(deadline=math.inf, reply=answers.append, fail=answers.append)
        # The first messages of a kind may be copied, to find out where their elements are.
        for turn in range(3):
            image = np.full((1, 1024, 1024), turn, np.float32)
            message = infer_request("image", x=image).SerializeToString()
            dialect._requests.prepare(message).submit(call)
            model.scheduler.run_ready()
            assert (-image).tobytes() in answers[turn]
        assert np.shares_memory(fed[-1], np.frombuffer(message, np.uint8))

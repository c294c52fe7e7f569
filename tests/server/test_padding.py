"""Requests of different sizes in one batch."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from headgate.foreign import open_inference as oip
from headgate.server import ModelConfig, StartupError
from headgate.server.dialects.headgate_v1 import HeadgateDialect
from headgate.server.dialects.open_inference import OpenInferenceDialect
from headgate.server.errors import InvalidArgumentError
from headgate.server.inputs import GivenTensor, ModelInputs
from headgate.server.joining import LARGE_BYTES
from headgate.server.model import LoadedModel
from headgate.server.padding import own_outputs
from headgate.v1 import (
    ACTIVATION_LINEAR,
    ACTIVATION_LOGITS,
    DataType,
    Head,
    PaddedInput,
    PaddedOutput,
    Padding,
    PredictRequest,
    PredictResponse,
    RegressionHead,
    SequenceTagsHead,
    Signature,
    TensorSpec,
)
from headgate.v1.signatures import METADATA_KEY, signature_to_json
from headgate.v1.tensors import BFLOAT16, NUMPY_DTYPES, convert, data_type_of, tensor_from_numpy, widened

from .fakes import run_all

#: hypothesis and numpy know no BFLOAT16.
NUMERIC = [data_type for data_type, dtype in NUMPY_DTYPES.items() if dtype.kind not in "OV"]


def padding(*inputs, mask="", outputs=()):
    """Pad axis 1 of inputs, given as names or as (name, axis, fill)."""
    axes = [(name, 1, 0) if isinstance(name, str) else name for name in inputs]
    return Padding(
        inputs=[PaddedInput(input=name, axis=axis, fill=fill) for name, axis, fill in axes],
        mask=mask,
        outputs=[PaddedOutput(output=name, axis=1) for name in outputs],
    )


def spec(name, *shape, dtype=np.float32):
    return TensorSpec(name=name, datatype=data_type_of(dtype), shape=[-1, *shape])


def request(inputs, **arrays):
    tensors = [
        GivenTensor(name, array.shape, array.ravel() if array.dtype == object else array.tobytes())
        for name, array in arrays.items()
    ]
    buffers, rows, group = inputs.bind(tensors)
    return SimpleNamespace(inputs=buffers, rows=rows, group=group)


def join(inputs, *requests):
    return inputs.join(requests, sum(request.rows for request in requests))


def ones(rows, *shape, dtype=np.float32):
    return np.ones((rows, *shape), dtype)


class TestGroups:
    inputs = ModelInputs([spec("x", -1)], paddings=[padding("x")])

    def group(self, size):
        return request(self.inputs, x=ones(1, size)).group

    @pytest.mark.parametrize("sizes", [(1, 1), (2, 2), (3, 4), (5, 8), (7, 6), (33, 64), (1025, 2048)])
    def test_sizes_that_share_a_batch(self, sizes):
        first, second = map(self.group, sizes)
        assert (first == second, first != second) == (True, False)
        assert hash(first) == hash(second)
        assert (first[0][0], second[0][0]) == sizes

    @pytest.mark.parametrize("sizes", [(1, 2), (2, 3), (4, 5), (8, 16)])
    def test_sizes_that_do_not(self, sizes):
        first, second = map(self.group, sizes)
        assert (first == second, first != second) == (False, True)

    @given(st.integers(1, 2**20), st.integers(1, 2**20))
    def test_less_than_twice_the_elements(self, size, other):
        if self.inputs.padding.group(((size,),)) == self.inputs.padding.group(((other,),)):
            assert max(size, other) < 2 * min(size, other)

    def test_other_free_axes_have_to_be_equal(self):
        inputs = ModelInputs([spec("x", -1, -1)], paddings=[padding("x")])
        groups = [request(inputs, x=ones(1, *shape)).group for shape in [(3, 5), (4, 5), (4, 6)]]
        assert groups[0] == groups[1] != groups[2]

    def test_sizes_that_are_padded_together(self):
        inputs = ModelInputs([spec("x", -1), spec("y", 2, -1)], paddings=[padding("x", ("y", 2, 0))])
        assert (
            request(inputs, x=ones(1, 3), y=ones(1, 2, 3)).group == request(inputs, x=ones(1, 4), y=ones(1, 2, 4)).group
        )
        with pytest.raises(InvalidArgumentError) as caught:
            request(inputs, x=ones(1, 3), y=ones(1, 2, 4))
        assert str(caught.value) == (
            "input 'y' has size 4 along axis 2, input 'x' has 3 along axis 1; "
            "they are padded together, send the same size"
        )


class TestJoin:
    def test_up_to_the_largest(self):
        inputs = ModelInputs([spec("x", -1)], paddings=[padding(("x", 1, -1))])
        (joined,) = join(inputs, request(inputs, x=ones(2, 5)), request(inputs, x=ones(1, 7)))
        assert joined.tolist() == [[1] * 5 + [-1] * 2] * 2 + [[1] * 7]

    def test_up_to_the_bucket(self):
        inputs = ModelInputs([spec("x", -1)], paddings=[padding("x")], pad_to_bucket=True)
        for sizes in [(5,), (5, 7), (8,), (8, 5)]:
            (joined,) = join(inputs, *[request(inputs, x=ones(1, size)) for size in sizes])
            assert joined.tolist() == [[1] * size + [0] * (8 - size) for size in sizes]

    def test_a_single_request_is_not_copied(self):
        inputs = ModelInputs([spec("x", -1)], paddings=[padding("x")])
        single = request(inputs, x=ones(2, 5))
        (joined,) = join(inputs, single)
        assert joined.shape == (2, 5)
        assert np.shares_memory(joined, np.frombuffer(single.inputs[0], np.uint8))

    def test_no_rows(self):
        inputs = ModelInputs([spec("x", -1)], paddings=[padding("x")])
        (joined,) = join(inputs, *[request(inputs, x=ones(rows, size)) for rows, size in [(0, 8), (1, 5), (0, 6)]])
        assert joined.tolist() == [[1] * 5 + [0] * 3]
        (joined,) = join(inputs, *[request(inputs, x=ones(0, size)) for size in (8, 5)])
        assert joined.shape == (0, 8)

    def test_bfloat16(self):
        inputs = ModelInputs([spec("x", -1, dtype=BFLOAT16)], paddings=[padding(("x", 1, -1.5))])
        (joined,) = join(
            inputs, *(request(inputs, x=convert(array, BFLOAT16)[0]) for array in (ones(1, 4), 2 * ones(1, 3)))
        )
        assert joined.dtype == BFLOAT16
        assert widened(joined).tolist() == [[1, 1, 1, 1], [2, 2, 2, -1.5]]

    def test_large_batches_use_memory_again(self):
        """What an earlier batch left there is overwritten by what is filled in."""
        units = LARGE_BYTES // 16
        inputs = ModelInputs([spec("x", -1)], paddings=[padding("x")])
        shapes = [(5, units - 3), (2, units)]
        batches = []
        for value in (1, 2):
            arrays = [np.full(shape, value, np.float32) for shape in shapes]
            (joined,) = join(inputs, *[request(inputs, x=array) for array in arrays])
            assert joined[:5].sum() == value * 5 * (units - 3)
            assert joined[5:].sum() == value * 2 * units
            batches.append(joined)
        assert np.shares_memory(*batches)


class TestMask:
    inputs = ModelInputs([spec("x", -1, 2), spec("m", -1, dtype=np.bool_)], paddings=[padding("x", mask="m")])

    def test_made_where_it_is_not_sent(self):
        given_mask = np.array([[True, False, True]])
        requests = [
            request(self.inputs, x=ones(1, 4, 2)),
            request(self.inputs, x=ones(1, 3, 2)),
            request(self.inputs, x=ones(1, 3, 2), m=given_mask),
        ]
        _, mask = join(self.inputs, *requests)
        assert mask.dtype == np.bool_
        assert mask.tolist() == [[True] * 4, [True, True, True, False], [True, False, True, False]]

    @pytest.mark.parametrize("rows", [0, 1, 3])
    def test_of_a_single_request(self, rows):
        _, mask = join(self.inputs, request(self.inputs, x=ones(rows, 4, 2)))
        assert mask.tolist() == [[True] * 4] * rows

    @pytest.mark.parametrize("dtype", [np.float32, np.float16, np.int64, np.uint8, BFLOAT16])
    def test_of_numbers(self, dtype):
        inputs = ModelInputs([spec("m", -1, dtype=dtype), spec("x", -1)], paddings=[padding("x", mask="m")])
        mask, _ = join(inputs, request(inputs, x=ones(1, 3)), request(inputs, x=ones(1, 4)))
        assert mask.dtype == dtype
        assert widened(mask).tolist() == [[1, 1, 1, 0], [1, 1, 1, 1]]

    def test_what_has_no_elements_is_by_itself(self):
        none, one = (request(self.inputs, x=ones(1, size, 2)) for size in (0, 1))
        assert none.group != one.group
        x, mask = join(self.inputs, none)
        assert (x.shape, mask.shape) == ((1, 0, 2), (1, 0))

    def test_of_another_size(self):
        with pytest.raises(InvalidArgumentError, match=r"input 'm' has size 3 along axis 1, input 'x' has 4"):
            request(self.inputs, x=ones(1, 4, 2), m=ones(1, 3, dtype=np.bool_))

    def test_alone(self):
        with pytest.raises(InvalidArgumentError, match=r"input 'x' is missing; the model takes 'x' .*, 'm' "):
            request(self.inputs, m=ones(1, 3, dtype=np.bool_))


@st.composite
def padded_batches(draw):
    """Requests for a model of one to three inputs, each with two free axes, some of them padded."""
    sizes = draw(st.lists(st.tuples(st.integers(5, 8), st.integers(3, 4)), min_size=1, max_size=4))
    rows = [draw(st.integers(0, 3)) for _ in sizes]
    specs, fills, arrays = [], [], []
    for index in range(draw(st.integers(1, 3))):
        data_type = draw(st.sampled_from([*NUMERIC, DataType.DATA_TYPE_STRING]))
        dtype = NUMPY_DTYPES[data_type]
        is_text = data_type == DataType.DATA_TYPE_STRING
        specs.append(TensorSpec(name=f"i{index}", datatype=data_type, shape=[-1, -1, 2, -1]))
        fills.append("" if is_text else draw(st.integers(0, 1)))
        elements = st.text(max_size=2) if is_text else hnp.from_dtype(dtype)
        arrays.append([
            draw(hnp.arrays(dtype, (count, size[0], 2, size[1]), elements=elements, fill=elements))
            for count, size in zip(rows, sizes, strict=True)
        ])  # fmt: skip
    return specs, fills, arrays


@given(padded_batches())
def test_join_is_padding_and_concatenation(case):
    specs, fills, arrays = case
    paddings = [
        padding(*[(each.name, axis, fill or 0) for each, fill in zip(specs, fills, strict=True)]) for axis in (1, 3)
    ]
    inputs = ModelInputs(specs, paddings=paddings)
    requests = [
        request(inputs, **{each.name: array for each, array in zip(specs, row, strict=True)})
        for row in zip(*arrays, strict=True)
    ]
    assert len({each.group for each in requests}) == 1
    for joined, members, fill in zip(join(inputs, *requests), arrays, fills, strict=True):
        largest = np.max([array.shape for array in members], axis=0)
        expected = np.concatenate([
            np.pad(
                array,
                [(0, 0), *((0, most - size) for most, size in zip(largest[1:], array.shape[1:], strict=True))],
                constant_values=fill,
            )
            for array in members
        ])  # fmt: skip
        assert joined.dtype == expected.dtype
        np.testing.assert_array_equal(joined, expected)


def test_outputs_are_cut_back():
    inputs = ModelInputs(
        [spec("x", -1, -1)],
        [spec("sum"), spec("y", -1, 3), spec("z", -1, -1)],
        [padding("x", outputs=["y", "z"]), Padding(
            inputs=[PaddedInput(input="x", axis=2)], outputs=[PaddedOutput(output="z", axis=2)]
        )],
    )  # fmt: skip
    outputs = [np.arange(4), np.arange(4 * 7 * 3).reshape(4, 7, 3), np.arange(4 * 7 * 8).reshape(4, 7, 8)]
    own = request(inputs, x=ones(2, 5, 6))
    own.start, own.stop = 1, 3
    total, y, z = own_outputs(outputs, own)
    assert total.tolist() == [1, 2]
    np.testing.assert_array_equal(y, outputs[1][1:3, :5])
    np.testing.assert_array_equal(z, outputs[2][1:3, :5, :6])


MASKED_MEAN = (
    "g (float[batch,n] x, float[batch,n] m) => (float[batch,n] y, float[batch] mean) <int64[1] last = {1}>"
    "{ y = Mul(x, m) s = ReduceSum<keepdims=0>(y, last) c = ReduceSum<keepdims=0>(m, last) mean = Div(s, c) }"
)
WORDS = "g (string[batch,n] x) => (string[batch,n] y) { y = Identity(x) }"
# What is filled in, 4, would be another label, and goes on with the span before it.
TAGGER = (
    "g (int64[batch,n] x) => (float[batch,n,3] tags, bool[batch,n] real)"
    "<float[5,3] table = {3,0,0, 0,3,0, 0,0,3, 1,1,0, 0,1,2}, int64 one = {1}>"
    "{ tags = Gather(table, x) real = GreaterOrEqual(x, one) }"
)
TAGS = [
    Head(
        name=name,
        output="tags",
        activation=ACTIVATION_LOGITS,
        sequence_tags=SequenceTagsHead(labels=["O", "B-x", "I-x"], scheme="SCHEME_BIO", mask_output=mask),
    )
    for name, mask in (("all", ""), ("masked", "real"))
]
HEAD = Head(name="mean", output="mean", activation=ACTIVATION_LINEAR, regression=RegressionHead())


@pytest.fixture
def load(tmp_path, write_model):
    """Load a model with paddings, run inline, at most 4 rows at a time."""
    models = []

    def load(graph, *paddings, heads=()):
        signature = Signature(schema_version=1, paddings=paddings, heads=heads)
        path = write_model(tmp_path, "padded", graph, metadata={METADATA_KEY: signature_to_json(signature)})
        config = ModelConfig(batching={"max_batch_size": 4}, execution={"mode": "inline", "intra_op_threads": 1})
        models.append(LoadedModel("padded", 1, path, config, "CPUExecutionProvider"))
        return models[-1]

    yield load
    for model in models:
        model.close()


class Caller:
    """A call that keeps its answer."""

    def __init__(self):
        self.deadline = math.inf
        self.answer = None

    def watch_cancellation(self, callback):
        pass

    def reply(self, answer):
        self.answer = answer

    def fail(self, error):
        raise error


def ask(dialect, model, messages):
    """Queue requests at once, then run them; return their answers."""
    callers = [Caller() for _ in messages]
    for caller, message in zip(callers, messages, strict=True):
        dialect._requests.prepare(message.SerializeToString()).submit(caller)
    run_all(model.scheduler)
    return [caller.answer for caller in callers]


def repository_of(model):
    return SimpleNamespace(model=lambda name, version: model, generation=0)


class TestServed:
    def test_tensors(self, load, infer_request):
        model = load(MASKED_MEAN, padding(("x", 1, 99), mask="m", outputs=["y"]))
        dialect = OpenInferenceDialect(repository_of(model), "")
        arrays = [
            np.arange(rows * size, dtype=np.float32).reshape(rows, size) for rows, size in [(1, 5), (2, 7), (1, 8)]
        ]
        # Twice: the second time as requests that are recognised.
        for _ in range(2):
            answers = ask(dialect, model, [infer_request("padded", x=array) for array in arrays])
            for array, answer in zip(arrays, map(oip.ModelInferResponse.FromString, answers), strict=True):
                assert [list(output.shape) for output in answer.outputs] == [list(array.shape), [len(array)]]
                y, mean = (np.frombuffer(raw, np.float32) for raw in answer.raw_output_contents)
                assert y.tolist() == array.ravel().tolist()
                np.testing.assert_allclose(mean, array.mean(axis=1))
        assert model.statistics.execution_count == 2

    def test_text(self, load):
        model = load(WORDS, padding("x", outputs=["y"]))
        dialect = OpenInferenceDialect(repository_of(model), "")
        messages = []
        for words in (["a", "", "c"], ["d", "e", "f", "gg"]):
            message = oip.ModelInferRequest(model_name="padded")
            tensor = message.inputs.add(name="x", datatype="BYTES", shape=[1, len(words)])
            tensor.contents.bytes_contents.extend(word.encode() for word in words)
            messages.append(message)
        first, second = map(oip.ModelInferResponse.FromString, ask(dialect, model, messages))
        assert first.raw_output_contents[0] == b"\1\0\0\0a\0\0\0\0\1\0\0\0c"
        assert second.raw_output_contents[0] == b"\1\0\0\0d\1\0\0\0e\1\0\0\0f\2\0\0\0gg"
        assert model.statistics.execution_count == 1

    def test_predictions(self, load):
        model = load(MASKED_MEAN, padding(("x", 1, 99), mask="m", outputs=["y"]), heads=[HEAD])
        arrays = [np.arange(size, dtype=np.float32).reshape(1, size) for size in (5, 8)]
        messages = [PredictRequest(model="padded", inputs=[tensor_from_numpy(array, "x")]) for array in arrays]
        answers = ask(HeadgateDialect(repository_of(model)), model, messages)
        values = [PredictResponse.FromString(answer).predictions[0].regression.values[0] for answer in answers]
        assert values == [2, 3.5]
        assert model.statistics.execution_count == 1

    def test_predictions_of_steps(self, load):
        """Requests of any length, also such as run in parts, are decoded together as alone."""
        model = load(TAGGER, padding(("x", 1, 4), outputs=["tags", "real"]), heads=TAGS)
        random = np.random.default_rng(1)
        arrays = [random.integers(0, 4, shape) for shape in [(1, 5), (2, 7), (1, 8), (6, 6), (3, 5), (1, 1)]]
        messages = [PredictRequest(model="padded", inputs=[tensor_from_numpy(array, "x")]) for array in arrays]
        dialect = HeadgateDialect(repository_of(model))
        together = [PredictResponse.FromString(answer) for answer in ask(dialect, model, messages)]
        assert model.statistics.execution_count < sum(map(len, arrays)) / 2
        for array, message, response in zip(arrays, messages, together, strict=True):
            assert response == PredictResponse.FromString(*ask(dialect, model, [message]))
            every, masked = (prediction.sequence_tags for prediction in response.predictions)
            assert list(every.counts) == [array.shape[1]] * len(array)
            assert list(masked.counts) == np.count_nonzero(array, axis=1).tolist()
            assert max(every.span_ends, default=0) <= array.shape[1]
            for row, label in enumerate(every.labels):
                assert label == ["O", "B-x", "I-x", "O"][array.ravel()[row]]

    def test_request_that_runs_in_parts(self, load, infer_request):
        """Its last row runs with others, of another size."""
        model = load(MASKED_MEAN, padding("x", mask="m", outputs=["y"]))
        dialect = OpenInferenceDialect(repository_of(model), "")
        large = np.arange(25, dtype=np.float32).reshape(5, 5)
        others = [infer_request("padded", x=ones(1, 8)) for _ in range(3)]
        answer = ask(dialect, model, [infer_request("padded", x=large), *others])[0]
        y, mean = (
            np.frombuffer(raw, np.float32) for raw in oip.ModelInferResponse.FromString(answer).raw_output_contents
        )
        np.testing.assert_array_equal(y.reshape(5, 5), large)
        np.testing.assert_allclose(mean, large.mean(axis=1))
        assert model.statistics.execution_count == 2

    @pytest.mark.parametrize(
        ("declared", "message"),
        [
            (padding("words"), "a padding names input 'words', but the model has 'x', 'm'"),
            (padding(("x", 2, 0)), "a padding names axis 2 of input 'x', which has the shape [batch,any]"),
            (padding("x", outputs=["mean"]), "a padding names axis 1 of output 'mean', which has the shape [batch]"),
            (padding("x", mask="x"), "a padding names axis 1 of input 'x', which is padded already"),
        ],
    )
    def test_refused_when_loaded(self, load, declared, message):
        with pytest.raises(StartupError) as caught:
            load(MASKED_MEAN, declared)
        assert f"model.onnx: {message}" in str(caught.value)
        assert "\n" not in str(caught.value)

    def test_fixed_axes_are_refused_when_loaded(self, load):
        with pytest.raises(StartupError, match="a padding names axis 1 of input 'x', which has the fixed size 3"):
            load("g (float[batch,3] x) => (float[batch,3] y) { y = Identity(x) }", padding("x"))

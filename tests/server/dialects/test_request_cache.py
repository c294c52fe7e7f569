from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.server.dialects.request_cache import PreparedRequest, RequestCache
from headgate.server.errors import InvalidArgumentError
from headgate.server.inputs import GivenTensor, ModelInputs
from headgate.server.repository import ModelRepository
from headgate.v1 import DataType, InputMeaning, PredictRequest, Tensor, TensorSpec, VocabularyInput

INPUTS = ModelInputs([TensorSpec(name="x", datatype=DataType.DATA_TYPE_FP32, shape=[-1, 3])])


class Model(NamedTuple):
    name: str
    inputs: ModelInputs


class Preparations:
    """Parses requests for a cache, and counts them."""

    def __init__(self):
        self.count = 0

    def __call__(self, request):
        self.count += 1
        message = PredictRequest.FromString(request)
        (tensor,) = message.inputs
        data = tensor.raw or np.array(tensor.floats, np.float32)
        inputs, rows, group = INPUTS.bind([GivenTensor(tensor.name, tuple(tensor.shape) or None, data)])
        return PreparedRequest(Model(message.model, INPUTS), inputs, rows, group, message.options.top_k, message.id)


@pytest.fixture
def preparations():
    return Preparations()


@pytest.fixture
def cache(preparations):
    return RequestCache(preparations, ModelRepository(), capacity=4)


def raw_request(*values, model="m", id="", top_k=0):
    rows = np.array(values, np.float32).reshape(-1, 3)
    tensor = Tensor(name="x", shape=rows.shape, raw=rows.tobytes())
    request = PredictRequest(model=model, id=id, inputs=[tensor])
    if top_k:
        request.options.top_k = top_k
    return request.SerializeToString()


def elements(prepared):
    return np.frombuffer(prepared.inputs[0], np.float32).tolist()


def test_a_request_like_an_earlier_one_is_not_parsed(cache, preparations):
    for i in range(2):
        cache.prepare(raw_request(i, 1, 2))
    parsed = preparations.count
    prepared = cache.prepare(raw_request(7, 8, 9))
    assert preparations.count == parsed
    assert elements(prepared) == [7, 8, 9]
    assert (prepared.model.name, prepared.rows) == ("m", 1)


def test_the_elements_are_not_copied(cache):
    for i in range(3):
        request = raw_request(i, 1, 2)
        prepared = cache.prepare(request)
    assert prepared.inputs[0].obj is request


def test_packed_floats_are_elements_too(cache, preparations):
    def request(*floats):
        return PredictRequest(model="m", inputs=[Tensor(floats=floats)]).SerializeToString()

    for i in range(2):
        cache.prepare(request(i, 1, 2))
    parsed = preparations.count
    assert elements(cache.prepare(request(4, 5, 6))) == [4, 5, 6]
    assert preparations.count == parsed


@pytest.mark.parametrize("other", [{"model": "n"}, {"top_k": 3}])
def test_a_request_with_another_frame_is_parsed(cache, other):
    first = {"model": "m", "top_k": 2}
    for i in range(3):
        cache.prepare(raw_request(i, 1, 2, **first))
    prepared = cache.prepare(raw_request(7, 8, 9, **first | other))
    assert (prepared.model.name, prepared.renderer) == tuple((first | other).values())


def test_elements_that_also_stand_elsewhere_in_the_request(cache):
    """The shape holds the bytes of the elements: only one of the two places is right."""
    for id in ("", "abcabcabcabc"):
        for _ in range(3):
            raw = b"abcabcabcabc"
            request = PredictRequest(model="abcabcabcabc", id=id, inputs=[Tensor(raw=raw)]).SerializeToString()
            assert bytes(cache.prepare(request).inputs[0]) == raw
    other = PredictRequest(model="abcabcabcabc", inputs=[Tensor(raw=b"defdefdefdef")]).SerializeToString()
    prepared = cache.prepare(other)
    assert (prepared.model.name, bytes(prepared.inputs[0])) == ("abcabcabcabc", b"defdefdefdef")


def test_requests_with_ids_are_not_remembered(cache, preparations):
    for i in range(10):
        assert cache.prepare(raw_request(1, 2, 3, id=f"request {i}")).id == f"request {i}"
    assert preparations.count == 10


def test_what_is_remembered_is_bounded(cache):
    for name in range(100):
        for _ in range(2):
            cache.prepare(raw_request(1, 2, 3, model=f"model {name:02}"))
    assert sum(len(frames) for layouts in cache._layouts.values() for frames in layouts.values()) <= 4


def test_lengths_that_nobody_sends_any_more_do_not_keep_others_out(cache, preparations):
    for size in range(100):
        cache.prepare(raw_request(*range(3 * (size + 1))))
    for _ in range(2):
        cache.prepare(raw_request(1, 2, 3, model="another"))
    parsed = preparations.count
    cache.prepare(raw_request(4, 5, 6, model="another"))
    assert preparations.count == parsed


def test_a_request_is_compared_with_few_others_of_its_length():
    cache = RequestCache(Preparations(), ModelRepository())
    for before in range(100):
        # The elements lie elsewhere each time.
        unknown = [bytes([15 << 3 | 2, size]) + bytes(size) for size in (before, 100 - before)]
        for _ in range(2):
            assert elements(cache.prepare(unknown[0] + raw_request(1, 2, 3) + unknown[1])) == [1, 2, 3]
    (layouts,) = cache._layouts.values()
    assert len(layouts) <= 8
    assert cache._size == len(layouts)


def test_a_wrong_request_is_refused_every_time(cache):
    wrong = PredictRequest(model="m", inputs=[Tensor(raw=b"12345", shape=[1, 3])]).SerializeToString()
    for _ in range(4):
        with pytest.raises(InvalidArgumentError, match="5 came"):
            cache.prepare(wrong)


@given(
    st.lists(st.tuples(st.sampled_from(["m", "n"]), st.integers(0, 3), st.integers(1, 3), st.randoms()), max_size=30)
)
def test_a_cached_answer_is_the_parsed_one(requests):
    parse, cache = Preparations(), RequestCache(Preparations(), ModelRepository(), capacity=8)
    for model, top_k, rows, random in requests:
        request = raw_request(*[random.randint(0, 2) for _ in range(3 * rows)], model=model, top_k=top_k)
        expected, prepared = parse(request), cache.prepare(request)
        assert expected._replace(inputs=[]) == prepared._replace(inputs=[])
        assert elements(expected) == elements(prepared)


def test_search_for_the_elements_is_not_made_amid_much_else(cache):
    """It would take minutes: each of a million zeros might be where the elements begin."""
    raw = bytes([0, 1]) + bytes(3 * 4 * 50_000 - 2)
    tensor = Tensor(name="x", shape=[50_000, 3], raw=raw)
    request = PredictRequest(model="m", inputs=[tensor]).SerializeToString()
    unknown_field = bytes([15 << 3 | 2]) + bytes([0x80, 0x89, 0x7A]) + bytes(2_000_000)
    for _ in range(3):
        assert cache.prepare(request + unknown_field).rows == 50_000


def test_elements_that_have_to_be_checked_are_parsed_each_time():
    """Even where the flipped bytes are elements that the model takes, too."""
    spec = TensorSpec(name="x", datatype=DataType.DATA_TYPE_INT64, shape=[-1, 1])
    vocabulary = VocabularyInput(integers=[0, -1], size=2)
    inputs = ModelInputs([spec], meanings=[InputMeaning(input="x", vocabulary=vocabulary)])

    def prepare(request):
        (tensor,) = PredictRequest.FromString(request).inputs
        bound = inputs.bind([GivenTensor(tensor.name, None, tensor.raw)])
        return PreparedRequest(Model("m", inputs), *bound, renderer=None, id="")

    def request(value):
        tensor = Tensor(name="x", raw=np.array([value]).tobytes())
        return PredictRequest(model="m", inputs=[tensor]).SerializeToString()

    cache = RequestCache(prepare, ModelRepository())
    for value in (0, -1, 0):
        cache.prepare(request(value))
    with pytest.raises(InvalidArgumentError, match="'x' has the value 7 in row 0"):
        cache.prepare(request(7))

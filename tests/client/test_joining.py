from concurrent.futures import Future

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.client import OverloadedError, Predictions
from headgate.client.joining import Waiting, WaitingList, join, settle, time_left
from headgate.v1 import DataType, PredictOptions, PredictRequest, Tensor
from headgate.v1.columns import MultilabelColumns, RegressionColumns
from headgate.v1.tensors import tensor_from_numpy

#: Rows of three numbers and of one text, a request for each number of rows.
REQUESTS = st.lists(st.tuples(st.integers(0, 5), st.integers(1, 2)), min_size=1, max_size=20)


def waiting(rows, width=3, start=0, deadline=None, version=0):
    numbers = np.arange(start, start + rows * width, dtype=np.float32).reshape(rows, width)
    inputs = [
        tensor_from_numpy(numbers, "numbers"),
        tensor_from_numpy(numbers.astype(np.int64).astype(str).astype(object), "texts"),
    ]
    request = PredictRequest(model="m", version=version, inputs=inputs, options=PredictOptions(top_k=2))
    return Waiting(request, deadline, Future())


@given(REQUESTS, st.integers(1, 8), st.data())
def test_everybody_is_taken_once_with_their_like(requests, max_rows, data):
    everybody = [waiting(rows, width) for rows, width in requests]
    gone = data.draw(st.sets(st.sampled_from(everybody)))
    line = WaitingList(max_rows)
    for one in everybody:
        line.add(one)
    for one in gone:
        one.future.cancel()
    left = [one for one in everybody if one not in gone]
    while together := line.take():
        assert together[0] is left[0]
        assert len({len(one.request.inputs[0].shape[1:]) for one in together}) == 1
        assert len(together) == 1 or sum(one.rows for one in together) <= max_rows
        # Nobody of a kind is overtaken but by those for whom there was still room.
        same = [one for one in left if one.kind == together[0].kind]
        assert together == [one for one in same if one in together]
        left = [one for one in left if one not in together]
    assert left == []


def test_nobody_waits():
    assert WaitingList(4).take() == []


def test_large_requests_go_alone():
    line = WaitingList(64)
    large = [waiting(1, 100_000) for _ in range(3)]
    for one in large:
        line.add(one)
    assert [line.take() for _ in range(3)] == [[one] for one in large]


@pytest.mark.parametrize(
    "other",
    [
        waiting(1, 2),
        waiting(1, 3, version=2),
        Waiting(PredictRequest(inputs=[Tensor(name="numbers", shape=[1, 3])]), None, Future()),
    ],
)
def test_those_that_differ_do_not_go_together(other):
    line = WaitingList(64)
    line.add(waiting(1, 3))
    line.add(other)
    assert [len(line.take()) for _ in range(2)] == [1, 1]


@pytest.mark.parametrize("shapes", [[], [[]], [[], []], [[2, 3], [1, 3]], [[1], []]])
def test_those_without_a_number_of_rows_go_alone(shapes):
    def strange():
        inputs = [Tensor(name=str(place), shape=shape) for place, shape in enumerate(shapes)]
        return Waiting(PredictRequest(inputs=inputs), None, Future())

    line = WaitingList(64)
    pair = [strange(), strange()]
    for one in pair:
        line.add(one)
    for one in pair:
        assert line.take() == [one]
        assert join([one])[0] is one.request


@given(st.lists(st.integers(0, 4), min_size=1, max_size=6))
def test_rows_are_joined_in_order(counts):
    together = [waiting(rows, 2, 100 * number) for number, rows in enumerate(counts)]
    request, timeout_s = join(together)
    numbers, texts = request.inputs
    expected = [100 * number + entry for number, rows in enumerate(counts) for entry in range(2 * rows)]
    assert np.frombuffer(numbers.raw, np.float32).tolist() == expected
    assert list(texts.strings) == [str(entry) for entry in expected]
    assert list(numbers.shape) == list(texts.shape) == [sum(counts), 2]
    assert (numbers.datatype, texts.datatype) == (DataType.DATA_TYPE_FP32, DataType.DATA_TYPE_STRING)
    assert (request.model, request.options.top_k, timeout_s) == ("m", 2, None)


def test_the_most_patient_decides():
    assert join([waiting(1, deadline=1e12), waiting(1, deadline=2e12)])[1] > 1.5e12
    assert join([waiting(1, deadline=1e12), waiting(1)])[1] is None
    assert join([waiting(1, deadline=0.0)])[1] == 0
    assert time_left(None) is None


@given(st.lists(st.integers(0, 4), min_size=1, max_size=6), st.data())
def test_each_gets_its_rows(counts, data):
    rows = sum(counts)
    valid = np.ones(rows, bool)
    labels = np.array([f"label {row}" for row in range(rows)], object)
    answer = Predictions(
        "m",
        3,
        "",
        rows,
        {
            "number": RegressionColumns(np.arange(rows, dtype=float)[:, None], valid),
            "tags": MultilabelColumns(
                np.arange(rows + 1), labels, np.zeros(rows, np.int32), np.ones(rows, np.float32), valid, np.array([0.5])
            ),
        },
    )
    together = [waiting(count) for count in counts]
    gone = data.draw(st.sets(st.sampled_from(together)))
    for one in gone:
        one.future.cancel()
    settle(together, answer)
    start = 0
    for one in together:
        own = range(start, start + one.rows)
        start += one.rows
        if one in gone:
            assert one.future.cancelled()
            continue
        part = one.future.result()
        assert (part.model, part.version, part.rows) == ("m", 3, one.rows)
        assert part["number"].values[:, 0].tolist() == list(own)
        assert [part["tags"].labels_of(row) for row in range(part.rows)] == [[f"label {row}"] for row in own]


def test_each_gets_an_error_of_its_own():
    together = [waiting(1), waiting(1)]
    settle(together, OverloadedError("full\nup"))
    first, second = (one.future.exception() for one in together)
    assert first is not second
    assert (str(first), first.details, first.code) == ("full up", "full\nup", OverloadedError.code)

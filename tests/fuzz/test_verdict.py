"""That bad answers are noticed."""

import grpc
import pytest

from headgate.benchmarks.fuzz.services import Target
from headgate.benchmarks.fuzz.verdict import Outcome, judge
from headgate.v1 import PredictRequest, PredictResponse, StreamError, StreamPredictResponse

PREDICT = Target("/headgate.v1.PredictionService/Predict", PredictRequest, PredictResponse, False, False)
STREAM = Target("/headgate.v1.PredictionService/StreamPredict", PredictRequest, StreamPredictResponse, True, True)
GOOD = PredictRequest(model="m").SerializeToString()
NO_MESSAGE = "the request is no headgate.v1.PredictRequest: Error parsing message"
Code = grpc.StatusCode


@pytest.mark.parametrize(
    ("code", "details"),
    [
        (Code.INVALID_ARGUMENT, "input 'x' is missing; the model takes 'x' (FP32 [batch,4])"),
        (Code.NOT_FOUND, "there is no model 'größe'"),
        (Code.RESOURCE_EXHAUSTED, "the queue is full: 3 requests are waiting; try again later"),
        (Code.INTERNAL, "the model failed on this request: Gather: indices element out of data bounds, idx=7"),
    ],
)
def test_right_answers(code, details):
    assert judge(PREDICT, [GOOD], Outcome(code, details, [], 0.1), 1.0) is None
    assert judge(PREDICT, [GOOD], Outcome(Code.OK, "", [b""], 0.1), 1.0) is None


@pytest.mark.parametrize(
    ("code", "details", "fault"),
    [
        (Code.UNKNOWN, "Exception iterating requests!", "UNKNOWN"),
        (Code.INTERNAL, "the server failed to handle the request; its log says why", "INTERNAL"),
        (Code.UNAVAILABLE, "Socket closed", "UNAVAILABLE"),
        (Code.RESOURCE_EXHAUSTED, "no", "RESOURCE_EXHAUSTED"),
        (Code.INVALID_ARGUMENT, "", "the message is empty"),
        (Code.INVALID_ARGUMENT, "two\nlines", "not one line"),
        (Code.INVALID_ARGUMENT, "\x1b[31mred", "not one line"),
        (Code.INVALID_ARGUMENT, "a" * 3000, "3000 bytes"),
        (Code.INVALID_ARGUMENT, "text in UTF-8, which b'\\xff' is not", "inside"),
        (Code.INVALID_ARGUMENT, "ValueError('x')", "inside"),
        (Code.INVALID_ARGUMENT, "<headgate.Tensor object at 0x7f>", "inside"),
        (Code.INVALID_ARGUMENT, NO_MESSAGE, "can be parsed"),
        (Code.DEADLINE_EXCEEDED, "Deadline Exceeded", "no answer came"),
    ],
)
def test_wrong_answers(code, details, fault):
    assert fault in judge(PREDICT, [GOOD], Outcome(code, details, [], 2.0), 1.0)


def test_what_cannot_be_parsed_has_to_be_refused_as_that():
    assert judge(PREDICT, [b"\xff"], Outcome(Code.INVALID_ARGUMENT, NO_MESSAGE, [], 0.1), 1.0) is None
    assert "was not refused" in judge(PREDICT, [b"\xff"], Outcome(Code.NOT_FOUND, "no model", [], 0.1), 1.0)


def test_answers_that_are_no_messages():
    assert "is no headgate.v1.PredictResponse" in judge(PREDICT, [GOOD], Outcome(Code.OK, "", [b"\xff"], 0.1), 1.0)


def test_errors_in_streams():
    def answer(code, message):
        return StreamPredictResponse(error=StreamError(code=code, message=message)).SerializeToString()

    good = Outcome(Code.OK, "", [answer(5, "there is no model 'm'")], 0.1)
    assert judge(STREAM, [GOOD], good, 1.0) is None
    assert "UNKNOWN" in judge(STREAM, [GOOD], Outcome(Code.OK, "", [answer(2, "what")], 0.1), 1.0)
    assert "not one line" in judge(STREAM, [GOOD], Outcome(Code.OK, "", [answer(3, "a\nb")], 0.1), 1.0)
    assert "2 messages got 1 answers" in judge(STREAM, [GOOD, GOOD], good, 1.0)

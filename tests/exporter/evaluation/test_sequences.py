import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.exporter.errors import EvaluationError
from headgate.exporter.evaluation.sequences import edit_distance
from headgate.v1 import ACTIVATION_PROBABILITIES, Head

LABELS = ["O", "B-x", "I-x", "B-y", "I-y"]


def head(scheme="SCHEME_BIO", **kind):
    tags = {"labels": LABELS, "scheme": scheme, **kind}
    return Head(name="words", output="out", activation=ACTIVATION_PROBABILITIES, sequence_tags=tags)


def naive_spans(labels):
    """Read labels as conlleval does: "I-x" after something else begins a span."""
    spans, begun = set(), None
    for step, label in enumerate([*labels, "O"]):
        prefix, _, name = label.partition("-")
        if begun is not None and (prefix != "I" or name != begun[1]):
            spans.add((begun[0], step, begun[1]))
            begun = None
        if begun is None and name:
            begun = (step, name)
    return spans


def test_spans_have_to_be_the_same(evaluate, table_of, rng):
    y, predicted = rng.integers(0, 5, (20, 9)), rng.integers(0, 5, (20, 9))
    predicted[:12] = np.where(rng.random((12, 9)) < 0.8, y[:12], predicted[:12])
    found = evaluate(head(), np.eye(5)[predicted], y=y)
    both = said = true = 0
    for row in range(20):
        here, there = (naive_spans([LABELS[i] for i in labels[row]]) for labels in (y, predicted))
        both, said, true = both + len(here & there), said + len(there), true + len(here)
    assert found.scores.metrics == {
        "token_accuracy": pytest.approx((y == predicted).mean()),
        "span_precision": pytest.approx(both / said),
        "span_recall": pytest.approx(both / true),
        "span_f1": pytest.approx(2 * both / (said + true)),
    }
    assert sum(line["spans"] for line in table_of(found, "spans").values()) == true


def test_steps_that_do_not_count_do_not_interrupt_spans(evaluate):
    y, predicted = [[1, -1, 2, 0]], [[1, 3, 2, 0]]
    assert evaluate(head(), np.eye(5)[predicted], y=y).scores.metrics["span_f1"] == 1


def test_steps_that_an_answer_leaves_out_are_wrong(evaluate):
    out = np.eye(6)[[[1, 5, 5], [0, 0, 0]]]
    out[1, 1, 1] = np.nan
    labelled = head(labels=[*LABELS, "pad"], padding_label="pad")
    found = evaluate(labelled, out, y=[[1, 2, 5], [0, 0, 5]])
    assert found.invalid_rows == [1]
    assert found.scores.metrics["token_accuracy"] == 1 / 4
    assert found.scores.metrics["span_recall"] == 0


def test_labels_that_stand_each_for_itself(evaluate):
    found = evaluate(head("SCHEME_UNSPECIFIED"), np.eye(5)[[[1, 2]]], y=[["B-x", "O"]])
    assert found.scores.metrics == {"token_accuracy": 0.5}


def test_fewer_steps_than_answers_have(evaluate):
    with pytest.raises(EvaluationError, match=r"its answers 1 rows of 3 steps or more"):
        evaluate(head(), np.eye(5)[[[1, 2, 0]]], y=[[1, 2]])


def naive_distance(first, second):
    if not first or not second:
        return len(first) + len(second)
    changed = naive_distance(first[1:], second[1:]) + (first[0] != second[0])
    return min(changed, naive_distance(first[1:], second) + 1, naive_distance(first, second[1:]) + 1)


@given(st.text("abà𝄞", max_size=5), st.text("abà𝄞", max_size=5))
def test_edit_distance(first, second):
    assert edit_distance(first, second) == naive_distance(first, second)


def test_texts_of_ctc_heads(evaluate):
    lines = Head(name="lines", output="out", activation=ACTIVATION_PROBABILITIES, ctc={"labels": ["a", "b", ""]})
    steps = {"a": [1, 0, 0], "b": [0, 1, 0], " ": [0, 0, 1]}
    out = np.float32([[steps[letter] for letter in text] for text in ("ab ", "aba", "   ", "   ", "bbb")])
    out[3] = np.nan
    # Right, one letter too many, right, invalid, and all wrong.
    found = evaluate(lines, out, y=["ab", "ab", "", "", "aa"])
    assert found.scores.metrics == {"character_error_rate": pytest.approx(3 / 6), "exact_match": 2 / 5}
    assert found.invalid_rows == [3]
    assert np.isnan(evaluate(lines, out[2:3], y=[""]).scores.metrics["character_error_rate"])

import numpy as np
import pytest
from sklearn import metrics as reference

from headgate.v1 import ACTIVATION_LINEAR, Head


def head(**kind):
    return Head(name="odd", output="out", activation=ACTIVATION_LINEAR, anomaly=kind)


@pytest.mark.parametrize("lower", [False, True])
def test_scores_are_compared_with_targets(evaluate, rng, lower):
    y = rng.integers(0, 2, 30)
    out = np.float32(rng.normal(size=30) + (-y if lower else y))[:, None]
    found = evaluate(head(threshold=0.4, lower_is_anomalous=lower), out, y=y).scores.metrics
    flagged = out[:, 0] <= 0.4 if lower else out[:, 0] >= 0.4
    assert found == {
        "flagged": pytest.approx(flagged.mean()),
        "precision": pytest.approx(reference.precision_score(y, flagged)),
        "recall": pytest.approx(reference.recall_score(y, flagged)),
        "f1": pytest.approx(reference.f1_score(y, flagged)),
        "roc_auc": pytest.approx(reference.roc_auc_score(y, -out if lower else out)),
        "pr_auc": pytest.approx(reference.average_precision_score(y, -out if lower else out)),
    }


def test_without_targets_only_what_is_flagged_is_known(evaluate):
    found = evaluate(head(threshold=0.5), [[0.1], [0.6], [np.nan], [0.7]])
    assert (found.scores.metrics, found.invalid_rows) == ({"flagged": 0.5}, [2])


@pytest.mark.parametrize("lower", [False, True])
def test_infinite_scores_are_the_most_anomalous_or_the_least(evaluate, lower):
    # A false alarm, which has to cost.
    out = np.float32([[1], [2], [3], [-np.inf if lower else np.inf]])
    found = evaluate(head(lower_is_anomalous=lower), out, y=[0, 1, 1, 0]).scores.metrics
    finite = np.nan_to_num(out[:, 0]).astype(float) * (-1 if lower else 1)
    assert found["roc_auc"] == pytest.approx(reference.roc_auc_score([0, 1, 1, 0], finite))

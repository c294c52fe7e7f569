import numpy as np
import pytest
from sklearn import metrics as reference
from sklearn.neighbors import KNeighborsClassifier

from headgate.v1 import ACTIVATION_LINEAR, Head


def test_the_label_of_the_nearest_prototype(evaluate, table_of, rng):
    prototypes, owners = np.float32(rng.normal(size=(6, 4))), ["ann", "bob", "ann", "cid", "bob", "cid"]
    vectors = {"labels": owners, "vectors": prototypes.tobytes()}
    head = Head(name="face", output="out", activation=ACTIVATION_LINEAR, embedding={"prototypes": vectors, "top_k": 2})
    out, y = np.float32(rng.normal(size=(50, 4))), rng.choice(["ann", "bob", "cid"], 50)
    nearest = KNeighborsClassifier(1, metric="cosine").fit(prototypes, owners).predict(out)
    metrics = evaluate(head, out, y=y).scores.metrics
    assert metrics["accuracy"] == pytest.approx(reference.accuracy_score(y, nearest))
    assert metrics["f1_macro"] == pytest.approx(reference.f1_score(y, nearest, average="macro"))
    order = np.argsort(-(out @ prototypes.T) / np.linalg.norm(prototypes, axis=1), axis=1)[:, :2]
    assert metrics["top_2_accuracy"] == pytest.approx((np.array(owners)[order] == y[:, None]).any(axis=1).mean())
    # Invalid rows are wrong, whatever the last prototype is called.
    out[:10] = np.nan
    worse = evaluate(head, out, y=y)
    assert worse.scores.metrics["accuracy"] == pytest.approx((nearest == y)[10:].sum() / 50)
    assert worse.invalid_rows == list(range(10))

import numpy as np
import pytest

from headgate.benchmarks.decoders import detection


@pytest.mark.parametrize("case", range(4))
def test_headgate_does_what_the_loop_does(case, monkeypatch):
    # Importing rivals takes longer than all the rest.
    monkeypatch.setattr(detection, "find_spec", lambda package: None)
    contenders = detection.cases()[case].contenders()
    columns, kept = contenders["headgate"](), contenders["Python loop"]()
    assert len(columns.scores) == len(kept) > 3
    np.testing.assert_array_equal(columns.scores, [-score for score, _, _ in kept])
    np.testing.assert_array_equal(columns.boxes, [box for _, _, box in kept])

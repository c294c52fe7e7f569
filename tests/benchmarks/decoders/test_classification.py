import numpy as np
import pytest

from headgate.benchmarks.decoders import classification


@pytest.fixture(scope="module")
def cases():
    return {case.name: case.contenders() for case in classification.cases() if case.name.endswith("one row")}


def test_the_empty_decoder_gives_what_headgate_gives(cases):
    assert len(cases) > 10
    for contenders in cases.values():
        columns, prebuilt, *_ = (contender() for contender in contenders.values())
        assert type(columns) is type(prebuilt)
        assert len(columns) == 1
        assert columns.valid.all()


@pytest.mark.parametrize("installed", [True, False])
def test_the_slow_ones_run_against_kernels_where_numba_is_installed(installed, monkeypatch):
    monkeypatch.setattr(classification, "find_spec", lambda package: installed or None)
    slow = [case for case in classification.cases() if case.name.removesuffix(", one row") in classification.SLOW]
    assert len(slow) == 4
    for case in slow:
        contenders = case.contenders()
        assert ("compiled with numba" in contenders) == installed
        assert case.note == ("" if installed else "left out, not installed: numba")
        if installed:
            assert contenders["compiled with numba"]().labels == contenders["headgate"]().labels


def test_headgate_says_what_the_others_say(monkeypatch):
    monkeypatch.setattr(classification, "ROWS", 20)
    # What the benchmark puts there must not be found by others.
    monkeypatch.setattr(pytest.importorskip("keras.src.applications.imagenet_utils"), "CLASS_INDEX", None)
    contenders = classification.cases()[-1].contenders()
    columns = contenders["headgate"]()
    labels, scores = contenders["scipy softmax and argsort"]()
    np.testing.assert_array_equal(columns.top_labels, labels)
    np.testing.assert_allclose(columns.top_scores, scores, 1e-5)
    for row, best in enumerate(contenders["Python loop over rows"]()):
        assert [label for label, _ in best] == columns.top_labels[row].tolist()
        np.testing.assert_allclose([score for _, score in best], columns.top_scores[row], 1e-5)
    for row, best in enumerate(contenders["softmax and keras.applications decode_predictions"]()):
        assert [label for _, label, _ in best] == columns.top_labels[row].tolist()
        np.testing.assert_allclose([score for _, _, score in best], columns.top_scores[row], 1e-5)
    partitioned = contenders["floor: argpartition, the best 5"]()[:, -5:]
    np.testing.assert_array_equal(np.sort(partitioned), np.sort(columns.top_indices))

import keras
import numpy as np
import pytest
from keras import layers as kl

from headgate.benchmarks.coverage.cases import Case, Subject, integers, normal, padded, words
from headgate.benchmarks.coverage.matrix import SETS, case_of
from headgate.benchmarks.coverage.trial import _difference, try_case

X = {"x": normal(4)}

#: One of each kind that the exporter treats in a way of its own.
SELECTION = [
    ("layers", "Dense/gelu"),
    ("layers", "Conv2D/groups"),
    ("layers", "Resizing/area, smaller"),
    ("layers", "Normalization/adapted"),
    ("layers", "Discretization/boundaries"),
    ("layers", "IntegerLookup/several oov"),
    ("layers", "Hashing/text"),
    ("layers", "GRU/masked, right-padded"),
    ("layers", "TimeDistributed/Dense, variable time"),
    ("activations", "Activation/celu"),
    ("shapes", "Functional/dictionary of outputs, non-alphabetical"),
    ("shapes", "Subclassed/two arguments"),
    ("shapes", "Network/transformer classifier, variable length"),
    ("shapes", "File/.keras, Lambda"),
]


def model(out=2):
    x = keras.Input((4,), name="x")
    return keras.Model(x, kl.Dense(out, name="out")(x))


@pytest.mark.parametrize(("set_name", "name"), SELECTION)
def test_selection(set_name, name):
    case = case_of(set_name, name)
    outcome = try_case(case)
    assert outcome.status == ("refused" if case.refused else "equal"), outcome.reason
    assert case.refused or outcome.nodes > 0


@pytest.mark.slow
@pytest.mark.backends
@pytest.mark.parametrize("case", [case for case in SETS["shapes"] if case.needs], ids=lambda case: case.name)
def test_cases_of_other_backends(case):
    pytest.importorskip(case.needs)
    assert try_case(case).status == "equal"


def test_a_file_that_computes_something_else_is_wrong():
    outcome = try_case(Case("case", lambda: Subject(model(), model()), X))
    assert outcome.status == "wrong"
    assert outcome.reason.startswith("output 'out' at batch size 2: ONNX differs from Keras by up to ")


def test_a_file_of_another_shape_is_wrong():
    outcome = try_case(Case("case", lambda: Subject(model(), model(3)), X))
    assert (outcome.status, outcome.reason) == (
        "wrong",
        "output 'out' at batch size 2: ONNX gives shape [2, 2], Keras [2, 3]",
    )


def test_inputs_that_are_called_otherwise_are_badly_named():
    outcome = try_case(Case("case", model, {"y": normal(4)}))
    assert outcome.status == "badly named"
    assert outcome.reason == "the inputs are called ['x'], expected ['y']"


def test_headgates_own_errors_are_refusals():
    outcome = try_case(Case("case", lambda: keras.Sequential([kl.Dense(2)]), X, outputs=["out"]))
    assert outcome.status == "refused"
    assert "not built" in outcome.reason


def test_a_case_that_cannot_be_built_is_broken():
    outcome = try_case(Case("case", lambda: kl.Dense(-1), X))
    assert outcome.status == "broken"


def test_a_missing_library_is_skipped():
    assert try_case(Case("case", model, X, needs="no_such_module")).status == "skipped"


@pytest.mark.parametrize(
    ("wanted", "got", "difference"),
    [
        (np.float32([1, 2]), np.float32([1, 2]), 0),
        (np.float32([1, 2]), np.float32([1, 2.001]), pytest.approx(0.0005, rel=1e-3)),
        (np.float32([1, 2]), np.float32([1, 2.1]), "ONNX differs from Keras by up to 0.1"),
        (np.float32([1, np.nan]), np.float32([1, np.nan]), 0),
        (np.float32([1, np.nan]), np.float32([1, 1]), "ONNX differs from Keras by up to 0"),
        (np.float32([1, np.inf]), np.float32([1, np.inf]), 0),
        (np.int64([1000]), np.int64([1001]), "ONNX differs from Keras by up to 1"),
        (np.int64([1]), np.float32([1]), "ONNX gives float32, Keras int64"),
        (np.array([b"a"], object), np.array(["a"], object), 0),
        (np.array([b"a"], object), np.array(["b"], object), "ONNX and Keras give different text"),
    ],
)
@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")
def test_differences(wanted, got, difference):
    assert _difference(wanted, got, 1e-4, 1e-3) == difference


def test_inputs_are_drawn_by_shape_type_and_free_size():
    random = np.random.default_rng(0)
    assert normal(None, 3).draw(2, 7, random).shape == (2, 7, 3)
    assert set(integers(3, 50).draw(2, 7, random).ravel()) == {0, 1, 2}
    assert set(words(["a", "b"], 50).draw(2, 7, random).ravel()) == {"a", "b"}


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_is_on_its_side(side):
    steps = np.any(padded(6, 3, side).draw(50, 7, np.random.default_rng(0)) != 0, axis=-1)
    if side == "left":
        steps = steps[:, ::-1]
    assert np.all(np.diff(steps.astype(int), axis=1) <= 0)
    assert np.all(steps[:, 0])
    assert not np.all(steps)

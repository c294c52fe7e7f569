from headgate.benchmarks.coverage.outcome import Outcome, Result
from headgate.benchmarks.coverage.report import page

RESULTS = [
    Result("layers", "Dense/plain", "", Outcome("equal", "", 0.5, 3, 2e-7)),
    Result("layers", "Dense/gelu", "", Outcome("wrong", "output 'y': ONNX differs", 0.5, 9)),
    Result("layers", "Dense/odd", "", Outcome("unloadable", "no such op", 0.5, 9)),
    Result("shapes", "Subclassed/never called", "it has no weights", Outcome("refused", "call it | once", 0.1)),
    Result("shapes", "tf_keras/model", "", Outcome("skipped", "tf_keras is not installed")),
]


def test_totals():
    rows = {line.split(" | ")[0]: line.split(" | ")[1:] for line in page(RESULTS).splitlines() if line.startswith("| ")}
    #                        cases exported loads named equal refused not-expected silent skipped
    assert rows["| Layers"][:9] == ["3", "3", "2", "2", "1", "0", "2", "2", "0"]
    assert rows["| Shapes of models"][:9] == ["2", "0", "0", "0", "0", "1", "0", "0", "1"]
    assert rows["| all"][:9] == ["5", "3", "2", "2", "1", "1", "2", "2", "1"]


def test_reasons():
    text = page(RESULTS)
    expected, _, rest = text.partition("## Not as expected")
    assert "| Subclassed/never called | refused | it has no weights | call it \\| once |" in expected
    assert "| Dense/gelu | wrong | output 'y': ONNX differs |" in rest
    assert "| tf_keras/model | skipped | tf_keras is not installed |" in rest


def test_the_tolerance_that_was_applied_is_shown():
    outcome = Outcome("equal", "output 'y' within 3e-4", 0.5, 3, 2e-6)
    text = page([Result("applications", "NASNetMobile/32x32", "", outcome)])
    assert "| NASNetMobile/32x32 | equal | 2e-06 | 3 | 0.5 | output 'y' within 3e-4 |" in text


def test_configurations_of_a_layer_share_a_row():
    assert "| Dense | plain; ~~gelu~~; ~~odd~~ | 1 of 3 | 2e-07 | 3 | 1.5 |" in page(RESULTS)

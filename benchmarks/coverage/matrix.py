"""All cases, by set. Importing this imports Keras."""

from headgate.benchmarks.coverage import activations, applications, layers, shapes
from headgate.benchmarks.coverage.cases import Case

SETS: dict[str, list[Case]] = {
    "layers": layers.CASES,
    "activations": activations.CASES,
    "shapes": shapes.CASES,
    "applications": applications.CASES,
}


def case_of(set_name: str, name: str) -> Case:
    return next(case for case in SETS[set_name] if case.name == name)

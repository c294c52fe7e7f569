from collections import Counter

import keras
import pytest

from headgate.benchmarks.coverage import activations, layers
from headgate.benchmarks.coverage.matrix import SETS


def test_every_layer_of_keras_has_a_case():
    assert layers.missing() == set()


def test_a_layer_that_keras_adds_is_missed(monkeypatch):
    class Brandnew(keras.layers.Layer):
        pass

    monkeypatch.setattr(keras.layers, "Brandnew", Brandnew, raising=False)
    assert layers.missing() == {"Brandnew"}


def test_what_is_no_layer_exists_and_has_no_case():
    covered = {case.name.partition("/")[0] for case in layers.CASES}
    for name in layers.NO_LAYERS:
        assert hasattr(keras.layers, name)
        assert name not in covered


def test_every_activation_of_keras_has_a_case():
    covered = {case.name.partition("/")[2] for case in activations.CASES}
    functions = {name for name, value in vars(keras.activations).items() if callable(value)}
    assert functions - covered == {"deserialize", "get", "serialize"}


@pytest.mark.parametrize("name", SETS)
def test_names_are_unique(name):
    counts = Counter(case.name for case in SETS[name])
    assert [case for case, count in counts.items() if count > 1] == []


def test_every_architecture_has_a_case():
    names = {case.name.partition("/")[0] for case in SETS["applications"]}
    assert {"ConvNeXtTiny", "EfficientNetV2B0", "MobileNetV3Small", "NASNetMobile", "ResNet50", "VGG16"} <= names
    assert len(names) >= 40

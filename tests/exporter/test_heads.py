import keras
import numpy as np
import pytest
from sklearn.preprocessing import StandardScaler

from headgate.exporter.errors import HeadInferenceError
from headgate.exporter.heads import build_heads
from headgate.exporter.losses import losses_of
from headgate.v1 import (
    ACTIVATION_LINEAR,
    ACTIVATION_LOGITS,
    ACTIVATION_PROBABILITIES,
    BinaryHead,
    Head,
    RegressionHead,
    TargetScaling,
)


def describe_losses(model):
    return losses_of(model, [{tensor._keras_history.operation.name} for tensor in model.outputs])


@pytest.fixture
def heads_of(traced):
    def build(model, heads=None, **shortcuts):
        return build_heads(traced(model), describe_losses(model), heads, shortcuts)[0]

    return build


def test_labels_default_to_class_numbers_and_say_so(dense, traced):
    (head,), notes = build_heads(traced(dense(3, "softmax")), [None], None, {})
    assert list(head.multiclass.labels) == ["0", "1", "2"]
    assert notes == ["the labels of output 'out' are the class numbers, from '0' on; name them with labels="]
    (head,), _ = build_heads(traced(dense(1, "sigmoid")), [None], None, {})
    assert list(head.binary.labels) == ["0", "1"]


def test_a_softmax_of_two_units_is_binary_when_told(dense, heads_of):
    (head,) = heads_of(dense(2, "softmax"), {"out": "binary"}, labels=["no", "yes"], positive_label="no")
    assert head.activation == ACTIVATION_PROBABILITIES
    assert (list(head.binary.labels), head.binary.positive_label) == (["no", "yes"], "no")


@pytest.mark.parametrize(
    "setting",
    [
        {"name": "churn", "kind": "binary", "activation": "logits", "labels": ("no", "yes"), "threshold": 0.2},
        Head(
            name="churn",
            activation=ACTIVATION_LOGITS,
            binary=BinaryHead(labels=["no", "yes"], threshold=0.2),
        ),
        # What is left out is inferred.
        {"name": "churn", "kind": "binary", "labels": np.array(["no", "yes"]), "threshold": 0.2},
        Head(name="churn", output="out", binary=BinaryHead(labels=["no", "yes"], threshold=0.2)),
    ],
)
def test_every_field_can_be_given(setting, dense, heads_of):
    kind = BinaryHead(labels=["no", "yes"], threshold=0.2)
    assert heads_of(dense(1), {"out": setting}) == [
        Head(name="churn", output="out", activation=ACTIVATION_LOGITS, binary=kind)
    ]


def test_fields_without_a_kind_keep_the_inferred_one(dense, heads_of):
    setting = {"description": "what it costs", "targets": ["net", "gross"], "units": "EUR"}
    assert heads_of(dense(2, loss="mse"), {"out": setting}) == [
        Head(
            name="out",
            output="out",
            activation=ACTIVATION_LINEAR,
            description="what it costs",
            regression=RegressionHead(targets=["net", "gross"], units=["EUR"]),
        )
    ]


def test_none_leaves_an_output_without_a_head(two_heads, heads_of):
    assert [head.name for head in heads_of(two_heads(), {"price": None})] == ["species"]
    assert heads_of(two_heads(), {"price": None, "species": None}) == []


def test_outputs_answer_to_all_their_names(two_heads, heads_of):
    model = two_heads(outputs=("cost", "kind"))
    heads = heads_of(model, {"price": {"name": "eur"}}, labels={"species": ["a", "b", "c"]}, units={"eur": "EUR"})
    assert [(head.name, head.output) for head in heads] == [("eur", "cost"), ("kind", "kind")]
    assert list(heads[0].regression.units) == ["EUR"]
    assert list(heads[1].multiclass.labels) == ["a", "b", "c"]


@pytest.mark.parametrize("labels", [["a", "b", "c"], ("a", "b", "c"), np.array(["a", "b", "c"])])
def test_labels_go_to_the_only_head_that_has_them(labels, two_heads, heads_of):
    assert list(heads_of(two_heads(), labels=labels)[1].multiclass.labels) == ["a", "b", "c"]


def test_labels_become_text(dense, heads_of):
    (head,) = heads_of(dense(1, "sigmoid"), labels=np.array([3, 8]), positive_label=3)
    assert (list(head.binary.labels), head.binary.positive_label) == (["3", "8"], "3")


@pytest.mark.parametrize("threshold", [0.3, [0.3], np.float32(0.3)])
def test_thresholds_of_binary_heads(threshold, dense, heads_of):
    (head,) = heads_of(dense(1, "sigmoid"), threshold=threshold)
    assert head.binary.threshold == pytest.approx(0.3)


@pytest.mark.parametrize("thresholds", [[0.3], [0.1, 0.2, 0.3]])
def test_thresholds_of_multilabel_heads(thresholds, dense, heads_of):
    (head,) = heads_of(dense(3, "sigmoid"), threshold=thresholds)
    assert list(head.multilabel.thresholds) == thresholds
    if len(thresholds) == 1:
        assert heads_of(dense(3, "sigmoid"), threshold=thresholds[0]) == [head]


def test_target_scaling_in_every_form(dense, heads_of):
    targets = np.array([[1.0, 10.0], [3.0, 50.0]])
    expected = TargetScaling(mean=[2, 30], scale=[1, 20])
    for scaling in (
        {"mean": [2, 30], "scale": [1, 20]},
        {"out": {"mean": np.array([2, 30]), "scale": (1, 20)}},
        expected,
        StandardScaler().fit(targets),
    ):
        (head,) = heads_of(dense(2, loss="mse"), target_scaling=scaling)
        assert head.regression.scaling == expected
    (head,) = heads_of(dense(2), target_scaling={"mean": 3, "log1p": True})
    assert head.regression.scaling == TargetScaling(mean=[3], log1p=True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"heads": {"cost": None}}, "heads= names 'cost', the model's outputs are 'price', 'species'"),
        ({"heads": {"price": "regressor"}}, "kind is 'regressor'; give one of 'regression', 'binary'"),
        ({"heads": {"price": 3}}, "heads= for output 'price' is of type int; give a kind"),
        ({"heads": {"price": {"activation": "tanh"}}}, "activation is 'tanh'; give 'linear', 'logits'"),
        ({"heads": {"price": {"labels": ["a"]}}}, "a regression head has no field 'labels'; it has 'kind', 'name'"),
        ({"heads": {"price": Head(output="species")}}, "holds a head that reads output 'species'"),
        ({"heads": {"price": {"name": "species"}}}, "two heads are called 'species'"),
        ({"heads": {"price": {"units": ["EUR", "USD", "CHF"]}}}, "regression.units has 3 entries"),
        ({"heads": {"species": {"top_k": "two"}}}, "a field of its multiclass head has a wrong type"),
        ({"labels": ["a", "b"]}, "multiclass.labels has 2 entries, output 'species' has 3 units"),
        ({"labels": {"price": ["a"]}}, "labels= names 'price', the .* heads are 'species'"),
        ({"labels": ["a", "b"], "heads": {"price": "binary"}}, "labels= fits the heads 'price', 'species'; say which"),
        ({"threshold": 0.5}, "threshold= needs a binary or multilabel head, but 'price' is regression, 'species' is"),
        ({"threshold": 1.5, "heads": {"price": "binary"}}, "binary.threshold"),
        ({"target_scaling": {"std": 3}}, "no field 'std'; it has 'mean', 'scale', 'log1p'"),
        ({"target_scaling": 3}, "the scaling of the targets is of type int"),
        ({"target_scaling": {"scale": "wide"}}, "a field of its regression head has a wrong type"),
    ],
)
def test_what_does_not_fit_is_refused(arguments, message, two_heads, heads_of):
    with pytest.raises(HeadInferenceError, match=message):
        heads_of(two_heads(), **arguments)


def test_images_and_integers_get_no_head_unasked(heads_of):
    image = keras.Input((8, 8, 1), name="image")
    model = keras.Model(image, keras.layers.Conv2D(2, 3, name="mask")(image))
    with pytest.raises(HeadInferenceError, match=r"'mask' has shape \[batch,6,6,2\].*heads={'mask': None}"):
        heads_of(model)
    assert heads_of(model, {"mask": None}) == []
    model = keras.Model(image, keras.ops.argmax(keras.layers.Flatten()(image), axis=-1, keepdims=True))
    with pytest.raises(HeadInferenceError, match="holds int32, heads read floating point numbers"):
        heads_of(model)

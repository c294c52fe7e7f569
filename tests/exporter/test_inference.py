import keras
import pytest

from headgate.exporter import export_model
from headgate.exporter.errors import HeadInferenceError
from headgate.exporter.inference import infer_activation
from headgate.exporter.losses import describe_loss
from headgate.v1 import ACTIVATION_LINEAR, ACTIVATION_LOGITS, ACTIVATION_PROBABILITIES, Activation

layers, losses = keras.layers, keras.losses
BCE, BCE_LOGITS = "binary_crossentropy", losses.BinaryCrossentropy(from_logits=True)
CE, CE_LOGITS = losses.CategoricalCrossentropy(), losses.SparseCategoricalCrossentropy(from_logits=True)


def own_loss(y_true, y_pred):
    return y_pred


@pytest.mark.parametrize(
    ("units", "activation", "loss", "kind", "emits"),
    [
        (1, "sigmoid", None, "binary", ACTIVATION_PROBABILITIES),
        (1, "sigmoid", BCE, "binary", ACTIVATION_PROBABILITIES),
        # Keras takes the logits from before the sigmoid then; the graph gives probabilities all the same.
        (1, "sigmoid", BCE_LOGITS, "binary", ACTIVATION_PROBABILITIES),
        (1, "sigmoid", own_loss, "binary", ACTIVATION_PROBABILITIES),
        (4, "sigmoid", BCE, "multilabel", ACTIVATION_PROBABILITIES),
        (2, "softmax", CE, "multiclass", ACTIVATION_PROBABILITIES),
        (3, "softmax", None, "multiclass", ACTIVATION_PROBABILITIES),
        (3, "softmax", "mse", "multiclass", ACTIVATION_PROBABILITIES),
        (3, "log_softmax", None, "multiclass", ACTIVATION_LOGITS),
        (1, None, BCE_LOGITS, "binary", ACTIVATION_LOGITS),
        (4, None, BCE_LOGITS, "multilabel", ACTIVATION_LOGITS),
        (3, None, CE_LOGITS, "multiclass", ACTIVATION_LOGITS),
        (1, None, "mse", "regression", ACTIVATION_LINEAR),
        (3, None, losses.Huber(), "regression", ACTIVATION_LINEAR),
        (1, None, None, "regression", ACTIVATION_LINEAR),
        (1, "relu", "mae", "regression", ACTIVATION_LINEAR),
        (1, "softplus", "poisson", "regression", ACTIVATION_LINEAR),
        (1, "exponential", "mse", "regression", ACTIVATION_LINEAR),
        (1, "hard_sigmoid", BCE, "binary", ACTIVATION_PROBABILITIES),
    ],
)
def test_the_head_follows_from_activation_and_loss(units, activation, loss, kind, emits, tmp_path, dense):
    (head,) = export_model(dense(units, activation, loss), tmp_path).signature.heads
    assert (head.WhichOneof("kind"), head.activation) == (kind, emits)


@pytest.mark.parametrize(
    ("units", "activation", "loss", "reason"),
    [
        (1, "softmax", None, "a softmax over one unit is always 1"),
        (1, "sigmoid", "mse", "it is a sigmoid, trained with mean_squared_error"),
        (3, "sigmoid", CE, "it is a sigmoid, trained with categorical_crossentropy"),
        (1, None, BCE, "it is linear, trained with binary_crossentropy as if it were probabilities"),
        (3, None, CE, "it is linear, trained with categorical_crossentropy as if it were probabilities"),
        (1, None, CE_LOGITS, r"it has one unit, trained with sparse_categorical_crossentropy\(from_logits=True\)"),
        (1, "tanh", None, "it ends with the operation Tanh and the model has no loss"),
        (1, None, own_loss, "it is linear, trained with own_loss, which is not known here"),
        (1, "tanh", "hinge", "it is computed by Tanh, trained with hinge"),
    ],
)
def test_what_does_not_follow_is_asked_for(units, activation, loss, reason, tmp_path, dense):
    ask = f"what output 'out' means cannot be told: {reason}.*; say it with heads={{'out': 'regression'}}"
    with pytest.raises(HeadInferenceError, match=ask):
        export_model(dense(units, activation, loss), tmp_path / "models")
    (head,) = export_model(dense(units, activation, loss), tmp_path, heads={"out": "regression"}).signature.heads
    assert head.activation == ACTIVATION_LINEAR


@pytest.mark.parametrize(
    "last",
    [
        [layers.Dense(3), layers.Softmax()],
        [layers.Dense(3), layers.Activation("softmax")],
        [layers.Dense(3, activation="softmax"), layers.Dropout(0.5)],
        [layers.Dense(3, activation="softmax"), layers.Reshape((3,))],
        [keras.Sequential([layers.Dense(5), layers.Dense(3, activation=keras.activations.softmax)])],
    ],
)
def test_the_activation_is_found_in_whatever_layer_it_is(last, tmp_path):
    model = keras.Sequential([keras.Input((4,)), *last], name="m")
    (head,) = export_model(model, tmp_path).signature.heads
    assert (head.WhichOneof("kind"), head.activation) == ("multiclass", ACTIVATION_PROBABILITIES)


@pytest.mark.parametrize(
    ("kind", "op", "loss", "expected"),
    [
        ("regression", "Sigmoid", None, "LINEAR"),
        ("multiclass", "Sigmoid", None, "PROBABILITIES"),
        ("binary", "Softmax", None, "PROBABILITIES"),
        ("binary", "BiasAdd", None, "LOGITS"),
        ("multilabel", "BiasAdd", own_loss, "LOGITS"),
        ("binary", "BiasAdd", BCE, None),
        ("binary", "Tanh", BCE, "PROBABILITIES"),
        ("binary", "Tanh", BCE_LOGITS, "LOGITS"),
        ("binary", "Tanh", None, None),
        ("multiclass", "LogSoftmax", None, "LOGITS"),
        ("multilabel", "LogSoftmax", None, None),
    ],
)
def test_the_activation_follows_where_the_kind_is_given(kind, op, loss, expected):
    activation = infer_activation(kind, op, None if loss is None else describe_loss(loss))
    assert (activation and Activation.Name(activation).removeprefix("ACTIVATION_")) == expected

import functools

import keras
import numpy as np
import pytest

from headgate.exporter.losses import Loss, describe_loss, losses_of

losses = keras.losses


class Weighted(losses.BinaryCrossentropy):
    pass


class PinballLoss(losses.Loss):
    def __init__(self, tau):
        super().__init__()
        self._tau = tau

    def call(self, y_true, y_pred):
        return y_pred


def own_loss(y_true, y_pred):
    return y_pred


def quantile_loss(y_true, y_pred, quantiles):
    return y_pred


def pinball(levels):
    def loss(y_true, y_pred):
        return y_pred * levels

    return loss


def huber_at(quantiles):
    def loss(y_true, y_pred):
        return y_pred * quantiles

    return loss


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        ("mse", Loss("mean_squared_error", "regression", False)),
        ("MeanAbsoluteError", Loss("mean_absolute_error", "regression", False)),
        ("huber", Loss("huber", "regression", False)),
        (losses.LogCosh(), Loss("log_cosh", "regression", False)),
        ("binary_crossentropy", Loss("binary_crossentropy", "binary", False)),
        (losses.binary_crossentropy, Loss("binary_crossentropy", "binary", False)),
        (losses.BinaryCrossentropy(from_logits=True, name="x"), Loss("binary_crossentropy", "binary", True)),
        (losses.BinaryFocalCrossentropy(from_logits=True), Loss("binary_focal_crossentropy", "binary", True)),
        (Weighted(from_logits=True), Loss("binary_crossentropy", "binary", True)),
        ("categorical_crossentropy", Loss("categorical_crossentropy", "categorical", False)),
        (
            losses.SparseCategoricalCrossentropy(from_logits=True),
            Loss("sparse_categorical_crossentropy", "categorical", True),
        ),
        (losses.Hinge(), Loss("hinge", "other", False)),
        (losses.Poisson(), Loss("poisson", "poisson", False)),
        (losses.CTC(), Loss("ctc", "ctc", False)),
        (losses.Dice(), Loss("dice", "overlap", False)),
        (losses.Tversky(), Loss("tversky", "overlap", False)),
        ("cosine_similarity", Loss("cosine_similarity", "similarity", False)),
        (PinballLoss(0.5), Loss("pinball_loss", "quantile", False, (0.5,))),
        (pinball(np.array([0.1, 0.9])), Loss("loss", "quantile", False, (0.1, 0.9))),
        (functools.partial(quantile_loss, quantiles=[0.1, 0.5]), Loss("partial", "quantile", False, (0.1, 0.5))),
        # What is not certain is left: levels that do not ascend, that are none, that belong to another loss.
        (pinball([0.9, 0.1]), Loss("loss", "other", False)),
        (pinball([10, 90]), Loss("loss", "other", False)),
        (pinball("all"), Loss("loss", "other", False)),
        (quantile_loss, Loss("quantile_loss", "other", False)),
        (huber_at([0.1, 0.9]), Loss("loss", "other", False)),
        (own_loss, Loss("own_loss", "other", False)),
        ("no_such_loss", Loss("no_such_loss", "other", False)),
        (functools.partial(own_loss), Loss("partial", "other", False)),
    ],
)
def test_losses_are_known_in_every_way_that_keras_takes_them(loss, expected):
    assert describe_loss(loss) == expected


@pytest.mark.parametrize(
    ("loss", "families"),
    [
        (None, [None, None]),
        ("mse", ["regression", "regression"]),
        (["mse", "sparse_categorical_crossentropy"], ["regression", "categorical"]),
        (["mse", None], ["regression", None]),
        ({"species": "sparse_categorical_crossentropy"}, [None, "categorical"]),
        ({"price": "mse", "species": None}, ["regression", None]),
    ],
)
def test_each_output_has_its_own_loss(loss, families, two_heads):
    found = losses_of(two_heads(loss), [{"price"}, {"species", "kind"}])
    assert [one and one.family for one in found] == families


@pytest.mark.parametrize(
    ("loss", "aliases", "families"),
    [
        ([["mse", "bce"], "categorical_crossentropy"], [{"a"}, {"b"}, {"c"}], ["regression", "binary", "categorical"]),
        ([[None, "bce"], "categorical_crossentropy"], [{"a"}, {"b"}, {"c"}], [None, "binary", "categorical"]),
        (
            {"x": ["mse", "bce"], "y": {"z": "categorical_crossentropy"}},
            [{"x", "a"}, {"x", "b", "x_1"}, {"y_z", "c"}],
            ["regression", "binary", "categorical"],
        ),
        ({"x": "mse", "y": "bce"}, [{"x"}, {"x", "x_1"}, {"y"}], ["regression", "regression", "binary"]),
    ],
)
def test_losses_may_be_nested_as_outputs_are(loss, aliases, families, two_heads):
    found = losses_of(two_heads(loss), aliases)
    assert [one and one.family for one in found] == families


def test_losses_survive_saving(tmp_path, dense):
    path = tmp_path / "m.keras"
    dense(1, loss=losses.BinaryCrossentropy(from_logits=True)).save(path)
    (loss,) = losses_of(keras.saving.load_model(path), [{"out"}])
    assert loss == Loss("binary_crossentropy", "binary", True)

import keras
import pytest

from headgate.exporter import export_model
from headgate.exporter.errors import HeadInferenceError
from headgate.exporter.inference import infer, infer_activation
from headgate.exporter.losses import describe_loss
from headgate.exporter.tracing.graph_nodes import UNIT_LENGTH
from headgate.v1 import ACTIVATION_LINEAR, ACTIVATION_LOGITS, ACTIVATION_PROBABILITIES, Activation

layers, losses = keras.layers, keras.losses
BCE, BCE_LOGITS = "binary_crossentropy", losses.BinaryCrossentropy(from_logits=True)
CE, CE_LOGITS = losses.CategoricalCrossentropy(), losses.SparseCategoricalCrossentropy(from_logits=True)


def own_loss(y_true, y_pred):
    return y_pred


def pinball(quantiles):
    def loss(y_true, y_pred):
        return y_pred * quantiles

    return loss


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
        (1, "softplus", "poisson", "count", ACTIVATION_LINEAR),
        (1, None, "poisson", "count", ACTIVATION_LINEAR),
        (2, "exponential", "poisson", "count", ACTIVATION_LINEAR),
        (3, None, "cosine_similarity", "embedding", ACTIVATION_LINEAR),
        (2, None, pinball([0.1, 0.9]), "quantile", ACTIVATION_LINEAR),
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
        (3, "relu", CE, "it is computed by Relu, trained with categorical_crossentropy as if it were probabilities"),
        (1, None, CE_LOGITS, r"it has one unit, trained with sparse_categorical_crossentropy\(from_logits=True\)"),
        (1, "tanh", None, "it ends with the operation Tanh and the model has no loss"),
        (1, None, own_loss, "it is linear, trained with own_loss, which is not known here"),
        (1, "tanh", "hinge", "it is computed by Tanh, trained with hinge"),
        (1, "sigmoid", "poisson", "it is a sigmoid, trained with poisson"),
        (3, None, pinball([0.1, 0.9]), r"it has shape \[batch,3\], trained with loss for the levels 0.1, 0.9"),
        (3, None, losses.Dice(), "it is linear, trained with dice"),
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
        ("count", "Exp", None, "LINEAR"),
        ("count", "BiasAdd", "poisson", "LINEAR"),
        ("count", "BiasAdd", own_loss, None),
        ("segmentation", "BiasAdd", None, "LOGITS"),
        ("segmentation", "BiasAdd", losses.Dice(), None),
        ("ctc", "BiasAdd", losses.CTC(), "LOGITS"),
        ("ordinal", "Sigmoid", own_loss, "PROBABILITIES"),
        ("keypoints", "Sigmoid", BCE, "LINEAR"),
        ("mean_variance", "ConcatV2", None, "LINEAR"),
    ],
)
def test_the_activation_follows_where_the_kind_is_given(kind, op, loss, expected):
    activation = infer_activation(kind, op, None if loss is None else describe_loss(loss))
    assert (activation and Activation.Name(activation).removeprefix("ACTIVATION_")) == expected


@pytest.mark.parametrize(
    ("op", "shape", "loss", "kind", "emits", "fields"),
    [
        ("Softmax", [-1, -1, 7], CE, "sequence_tags", "PROBABILITIES", {}),
        ("BiasAdd", [-1, -1, 7], CE_LOGITS, "sequence_tags", "LOGITS", {}),
        ("BiasAdd", [-1, 20, 7], losses.CTC(), "ctc", "LOGITS", {"blank": 0}),
        ("LogSoftmax", [-1, 20, 7], losses.CTC(), "ctc", "LOGITS", {"blank": 0}),
        ("BiasAdd", [-1, 4, 3], pinball([0.1, 0.5, 0.9]), "quantile", "LINEAR", {"levels": (0.1, 0.5, 0.9)}),
        ("Softmax", [-1, 8, 8, 3], CE, "segmentation", "PROBABILITIES", {}),
        ("BiasAdd", [-1, 8, 8, 3], CE_LOGITS, "segmentation", "LOGITS", {}),
        ("LogSoftmax", [-1, 8, 8, 3], CE, "segmentation", "LOGITS", {}),
        ("Softmax", [-1, 8, 8, 3], losses.Dice(), "segmentation", "PROBABILITIES", {}),
        ("Sigmoid", [-1, 8, 8, 1], losses.Dice(), "segmentation", "PROBABILITIES", {}),
        ("Sigmoid", [-1, 8, 8, 3], losses.Tversky(), "segmentation", "PROBABILITIES", {"independent": True}),
        (UNIT_LENGTH, [-1, 8], None, "embedding", "LINEAR", {}),
        (UNIT_LENGTH, [-1, 8], own_loss, "embedding", "LINEAR", {}),
        (UNIT_LENGTH, [-1, 8], "cosine_similarity", "embedding", "LINEAR", {}),
        ("BiasAdd", [-1, 8], losses.CosineSimilarity(), "embedding", "LINEAR", {"normalize": True}),
        (UNIT_LENGTH, [-1, 4], "mse", "regression", "LINEAR", {}),
    ],
)
def test_the_meaning_of_other_shapes_follows_from_the_loss(op, shape, loss, kind, emits, fields):
    meaning = infer(op, shape, None if loss is None else describe_loss(loss))
    assert (meaning.kind, meaning.activation) == (kind, Activation.Value(f"ACTIVATION_{emits}"))
    assert meaning.fields == fields


@pytest.mark.parametrize(
    ("op", "note", "others"),
    [
        (
            "BiasAdd",
            "it is linear and the model has no loss; if it gives logits",
            ("multiclass", "binary", "multilabel"),
        ),
        ("Softplus", "it is never negative and the model has no loss; if it counts", ("count",)),
        ("Relu", "it is never negative and the model has no loss; if it counts", ("count",)),
    ],
)
def test_what_is_assumed_without_a_loss(op, note, others):
    meaning = infer(op, [-1, 3], None)
    assert (meaning.kind, meaning.note, meaning.others) == ("regression", note, others)


@pytest.mark.parametrize(
    ("op", "shape", "loss", "reason"),
    [
        # Attention weights look the same as masks do.
        ("Softmax", [-1, 8, 8, 3], None, "it has shape [batch,8,8,3], ends with the operation Softmax, and the model"),
        # Masks, heatmaps or an autoencoder's pictures.
        ("Sigmoid", [-1, 8, 8, 1], BCE, "and is trained with binary_crossentropy"),
        ("BiasAdd", [-1, 8, 8, 3], CE, "it is linear, trained with categorical_crossentropy as if"),
        ("Sigmoid", [-1, -1, 3], CE, "ends with the operation Sigmoid"),
        ("Softmax", [-1, -1, 3], losses.CTC(), "it is a softmax, trained with ctc, which applies softmax itself"),
        ("Softmax", [-1, -1, 1], CE, "a softmax over one unit is always 1"),
        ("BiasAdd", [-1, -1, 3], "mse", "and is trained with mean_squared_error"),
        ("Softmax", [-1, 2, 2, 2, 3], CE, "it has shape [batch,2,2,2,3]"),
    ],
)
def test_other_shapes_are_asked_for(op, shape, loss, reason):
    assert reason in infer(op, shape, None if loss is None else describe_loss(loss))


@pytest.mark.parametrize(
    "normalize",
    [
        layers.UnitNormalization(),
        layers.Lambda(lambda x: keras.ops.normalize(x, axis=-1)),
        layers.Lambda(lambda x: x / keras.ops.norm(x, axis=-1, keepdims=True)),
        layers.Lambda(lambda x: keras.ops.divide(x, keras.ops.sqrt(keras.ops.sum(x * x, axis=-1, keepdims=True)))),
    ],
)
def test_vectors_of_length_1_are_found_in_any_spelling(normalize, traced):
    x = keras.Input((4,))
    model = traced(keras.Model(x, normalize(layers.Dense(3)(x))))
    assert model.last_op(model.outputs[0].name) == UNIT_LENGTH


@pytest.mark.parametrize(
    "other",
    [
        layers.LayerNormalization(center=False, scale=False),
        layers.Lambda(lambda x: x / keras.ops.sum(x * x, axis=-1, keepdims=True)),
        layers.Lambda(lambda x: x / keras.ops.norm(x + 1, axis=-1, keepdims=True)),
        layers.Lambda(lambda x: x * keras.ops.norm(x, axis=-1, keepdims=True)),
        layers.Lambda(lambda x: x * 3.0),
    ],
)
def test_other_divisions_do_not_make_vectors_of_length_1(other, traced):
    x = keras.Input((4,))
    model = traced(keras.Model(x, other(layers.Dense(3)(x))))
    assert model.last_op(model.outputs[0].name) != UNIT_LENGTH


@pytest.mark.parametrize(
    ("before", "after", "kind"),
    [
        ((4, 10), (40,), None),
        ((40,), (4, 10), None),
        ((1, 40), (40,), "multiclass"),
        ((40,), (40,), "multiclass"),
    ],
)
@pytest.mark.parametrize("activation", ["softmax", "log_softmax"])
def test_several_softmaxes_in_a_row_are_not_one(activation, before, after, kind, traced):
    x = keras.Input((3,))
    scores = layers.Activation(activation)(layers.Reshape(before)(layers.Dense(40)(x)))
    model = traced(keras.Model(x, layers.Reshape(after)(scores)))
    [output] = model.outputs
    meaning = infer(model.last_op(output.name), output.shape, describe_loss(CE))
    assert getattr(meaning, "kind", None) == kind

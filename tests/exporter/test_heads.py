import keras
import numpy as np
import pytest
from scipy.stats import norm
from sklearn.preprocessing import StandardScaler

from headgate.decoders import DecodeOptions, decoder_for
from headgate.exporter import export_model
from headgate.exporter.errors import HeadInferenceError
from headgate.exporter.heads import build_heads
from headgate.exporter.heads_file import heads_text
from headgate.exporter.losses import describe_loss, losses_of
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
        ({"heads": {"cost": None}}, "a head is declared for 'cost'; the model's outputs are 'price', 'species'"),
        (
            {"heads": {"price": "regressor"}},
            r"\(did you mean 'regression'\?\); give one of 'regression', 'binary'",
        ),
        ({"heads": {"price": 3}}, "heads= for output 'price' is of type int; give a kind"),
        ({"heads": {"price": {"activation": "tanh"}}}, "activation is 'tanh'; give 'linear', 'logits'"),
        ({"heads": {"price": {"labels": ["a"]}}}, "a regression head has no field 'labels' .*; it has 'kind', 'name'"),
        ({"heads": {"price": Head(output="species")}}, "holds a head that reads output 'species'"),
        ({"heads": {"price": {"name": "species"}}}, "two heads are called 'species'"),
        ({"heads": {"price": {"units": ["EUR", "USD", "CHF"]}}}, "regression.units has 3 entries"),
        ({"heads": {"species": {"top_k": "two"}}}, "output 'species': multiclass.top_k is 'two'; give a whole number"),
        ({"labels": ["a", "b"]}, "multiclass.labels has 2 entries, output 'species' has 3 units"),
        ({"labels": {"price": ["a"]}}, "labels= names 'price', the .* heads are 'species'"),
        ({"labels": ["a", "b"], "heads": {"price": "binary"}}, "labels= fits the heads 'price', 'species'; say which"),
        (
            {"threshold": 0.5},
            "threshold= needs a binary, .* or anomaly head, but 'price' is regression, 'species' is",
        ),
        ({"threshold": 1.5, "heads": {"price": "binary"}}, "binary.threshold"),
        ({"target_scaling": {"std": 3}}, "regression.scaling has no field 'std'; it has 'mean', 'scale', 'log1p'"),
        ({"target_scaling": 3}, "scaling is 3; give a dictionary with 'mean', 'scale', 'log1p', or a fitted"),
        ({"target_scaling": {"scale": "wide"}}, "output 'price': regression.scaling.scale is 'wide'; give a number"),
    ],
)
def test_what_does_not_fit_is_refused(arguments, message, two_heads, heads_of):
    with pytest.raises(HeadInferenceError, match=message):
        heads_of(two_heads(), **arguments)


def test_images_and_integers_get_no_head_unasked(heads_of):
    image = keras.Input((8, 8, 1), name="image")
    model = keras.Model(image, keras.layers.Conv2D(2, 3, name="mask")(image))
    with pytest.raises(HeadInferenceError, match=r"'mask' .*: it has shape \[batch,6,6,2\].*heads={'mask': None}"):
        heads_of(model)
    assert heads_of(model, {"mask": None}) == []
    model = keras.Model(image, keras.ops.argmax(keras.layers.Flatten()(image), axis=-1, keepdims=True))
    with pytest.raises(HeadInferenceError, match="holds int32, heads read floating point numbers"):
        heads_of(model)


def convolutional(units, activation, loss=None):
    image = keras.Input((8, 8, 1), name="image")
    features = keras.layers.Conv2D(4, 3, strides=2, padding="same")(image)
    model = keras.Model(image, keras.layers.Conv2D(units, 1, activation=activation, name="mask")(features))
    if loss is not None:
        model.compile(loss=loss)
    return model


def with_outputs(**units):
    x = keras.Input((4,), name="x")
    return keras.Model(x, {name: keras.layers.Dense(count, name=f"{name}_layer")(x) for name, count in units.items()})


@pytest.mark.parametrize(
    ("model", "setting", "expected"),
    [
        (lambda: with_outputs(mask=3), {"kind": "ordinal", "form": "exceedance"}, ["0", "1", "2", "3"]),
        (lambda: convolutional(1, "sigmoid"), "segmentation", ["0", "1"]),
        (lambda: convolutional(1, "sigmoid"), {"kind": "segmentation", "independent": True}, ["0"]),
        (
            lambda: convolutional(4, "softmax"),
            {"kind": "segmentation", "layout": "channels_first"},
            ["0", "1", "2", "3"],
        ),
    ],
)
def test_there_are_as_many_class_numbers_as_the_kind_takes(model, setting, expected, heads_of):
    (head,) = heads_of(model(), {"mask": setting})
    assert list(getattr(head, head.WhichOneof("kind")).labels) == expected


def test_the_size_of_the_image_is_told_by_the_input(heads_of):
    (head,) = heads_of(convolutional(3, "softmax", "categorical_crossentropy"))
    assert head.segmentation.stride == 2
    (head,) = heads_of(convolutional(3, "softmax"), {"mask": {"kind": "segmentation", "stride": 1}})
    assert head.segmentation.stride == 1
    points = {"kind": "keypoints", "form": "heatmaps", "names": ["a", "b", "c"]}
    (head,) = heads_of(convolutional(3, None), {"mask": points})
    assert (head.keypoints.stride, head.keypoints.image_width, head.keypoints.image_height) == (2, 8, 8)


def test_outputs_that_another_head_reads_have_none(heads_of):
    setting = {"kind": "mean_variance", "spread": "log_variance", "spread_output": "spread_layer"}
    (head,) = heads_of(with_outputs(mean=2, spread=2), {"mean": setting})
    assert head.mean_variance.spread_output == "spread"
    heads = heads_of(with_outputs(mean=2, spread=2), {"mean": setting, "spread": "regression"})
    assert [head.name for head in heads] == ["mean", "spread"]
    with pytest.raises(HeadInferenceError, match=r"output 'mean': spread_output is 'spred' \(did you mean 'spread'"):
        heads_of(with_outputs(mean=2, spread=2), {"mean": {**setting, "spread_output": "spred"}})


def test_the_activation_of_a_detection_is_that_of_its_scores(heads_of):
    x = keras.Input((4,))
    boxes = keras.layers.Reshape((2, 4))(keras.layers.Dense(8)(x))
    scores = keras.layers.Reshape((2, 3))(keras.layers.Dense(6, "sigmoid")(x))
    setting = {"kind": "detection", "box_format": "xyxy", "scores_output": "scores", "labels": ["a", "b", "c"]}
    (head,) = heads_of(keras.Model(x, {"boxes": boxes, "scores": scores}), {"boxes": setting})
    assert head.activation == ACTIVATION_PROBABILITIES


def test_undecided_outputs_are_all_named(traced):
    model = traced(with_outputs(a=2, b=2, c=2))
    losses = [describe_loss("hinge"), describe_loss("mse"), describe_loss("hinge")]
    with pytest.raises(HeadInferenceError, match=r"output 'a' means cannot be told: .*; also asked for: 'c'"):
        build_heads(model, losses, {}, {})
    undecided = {}
    heads, _ = build_heads(model, losses, {}, {"labels": ["x"]}, undecided)
    assert [head.name for head in heads] == ["b"]
    assert list(undecided) == ["a", "c"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"y": {"kind": "quantile"}},
            r"quantile.levels .*; say it in table \[y\] of a heads.toml, or in Python in the",
        ),
        ({"y": {"kind": "quantile", "levels": [0.5, 0.1, 0.9]}}, "quantile.levels holds 0.1 after 0.5; give [^;]*$"),
        ({"y": {"levels": [0.1, 0.5, 0.9]}}, r"a regression head has no field 'levels' \(heads of the kind quantile"),
        ({"y": {"kind": "count"}}, "rates or their logarithms cannot be told; .*'activation': 'linear'"),
        ({"y": "sequence_tags"}, "a sequence_tags head reads"),
        ({"y": "anomaly"}, "an anomaly head reads 1; of a reconstruction give reconstructed_input and"),
        ({"x": "none"}, r"a head is declared for 'x'; the model's outputs are 'y'"),
    ],
)
def test_other_kinds_that_do_not_fit_are_refused(settings, message, heads_of):
    with pytest.raises(HeadInferenceError, match=message):
        heads_of(with_outputs(y=3), settings)


def test_none_by_name(heads_of):
    assert heads_of(with_outputs(y=3), {"y": "none"}) == []
    assert heads_of(with_outputs(y=3), {"y": {"kind": "none"}}) == []


def decoded(exported, report, **inputs):
    """What each head makes of the exported model's outputs."""
    model = exported(report.path)
    outputs = dict(zip(model.outputs, model.run(**inputs), strict=True))
    signature = model.signature
    options = DecodeOptions()
    return outputs, {
        head.name: decoder_for(head, signature.outputs).decode(outputs, options) for head in signature.heads
    }


def test_segmentation_from_keras_to_maps(tmp_path, exported, rng):
    model = convolutional(3, "softmax", keras.losses.CategoricalCrossentropy())
    report = export_model(model, tmp_path, name="m", labels=["sky", "road", "car"])
    image = rng.random((2, 8, 8, 1), "float32")
    _, heads = decoded(exported, report, image=image)
    expected = np.argmax(model.predict(image, verbose=0), axis=-1).repeat(2, axis=1).repeat(2, axis=2)
    np.testing.assert_array_equal(heads["mask"].class_maps, expected)


def test_tags_under_a_mask_from_keras_to_labels(tmp_path, exported):
    tokens = keras.Input((None,), dtype="int32", name="tokens")
    tags = keras.layers.Dense(3, "softmax")(keras.layers.Embedding(9, 4)(tokens))
    model = keras.Model(tokens, {"tags": tags, "real": keras.ops.not_equal(tokens, 0)})
    model.compile(loss={"tags": "sparse_categorical_crossentropy"})
    head = {"mask_output": "real", "labels": ["O", "B-x", "I-x"], "scheme": "bio"}
    report = export_model(model, tmp_path, name="m", heads={"tags": head})
    batch = np.array([[1, 2, 0, 0], [3, 4, 5, 6]], "int32")
    outputs, heads = decoded(exported, report, tokens=batch)
    assert heads["tags"].offsets.tolist() == [0, 2, 6]
    assert heads["tags"].indices.tolist() == np.argmax(outputs["tags"], axis=-1)[batch != 0].tolist()


@pytest.fixture
def masked():
    """A tagger whose steps of token 0 are filled in, as Keras alone knows."""
    tokens = keras.Input((None,), dtype="int32", name="tokens")
    embedded = keras.layers.Embedding(9, 4, mask_zero=True)(tokens)
    tags = keras.layers.Dense(3, "softmax", name="tags")(keras.layers.LSTM(4, return_sequences=True)(embedded))
    model = keras.Model(tokens, tags, name="tagger")
    model.compile(loss="sparse_categorical_crossentropy")
    return model


def test_the_mask_that_keras_has_is_read(tmp_path, exported, masked):
    report = export_model(masked, tmp_path)
    assert [output.name for output in report.signature.outputs] == ["tags", "tags_mask"]
    assert any("'tags_mask' is the mask that Keras has of output 'tags'" in note for note in report.notes)
    batch = np.array([[1, 2, 0, 0], [3, 4, 5, 6]], "int32")
    outputs, heads = decoded(exported, report, tokens=batch)
    assert outputs["tags_mask"].tolist() == (batch != 0).tolist()
    assert heads["tags"].offsets.tolist() == [0, 2, 6]
    np.testing.assert_array_equal(heads["tags"].steps, [0, 1, 0, 1, 2, 3])
    expected = masked.predict(batch, verbose=0).argmax(axis=-1)[batch != 0]
    assert heads["tags"].indices.tolist() == expected.tolist()


@pytest.mark.parametrize("setting", [None, {"padding_label": "0"}, "ctc"])
def test_a_mask_that_no_head_reads_is_no_output(tmp_path, masked, setting):
    report = export_model(masked, tmp_path, heads={"tags": setting}, dry_run=True)
    assert [output.name for output in report.signature.outputs] == ["tags"]


def test_a_mask_survives_a_file_of_heads(tmp_path, masked):
    report = export_model(masked, tmp_path, dry_run=True)
    (tmp_path / "heads.toml").write_text(heads_text("tagger", report.signature, {}))
    again = export_model(masked, tmp_path, heads=tmp_path / "heads.toml", dry_run=True)
    assert list(again.signature.heads) == list(report.signature.heads)
    assert again.signature.heads[0].sequence_tags.mask_output == "tags_mask"


def test_boxes_and_scores_from_keras_to_detections(tmp_path, exported, rng):
    image = keras.Input((16, 16, 3), name="image")
    features = keras.layers.Conv2D(8, 3, strides=8, padding="same")(image)
    boxes = keras.layers.Reshape((4, 4))(keras.layers.Conv2D(4, 1, activation="sigmoid")(features))
    scores = keras.layers.Reshape((4, 2))(keras.layers.Conv2D(2, 1, activation="sigmoid")(features))
    model = keras.Model(image, {"boxes": boxes, "scores": scores})
    (tmp_path / "heads.toml").write_text("""
        [boxes]
        kind = "detection"
        labels = ["cat", "dog"]
        box_format = "cxcywh"
        relative = true
        scores_output = "scores"
        score_threshold = 0.1
        iou_threshold = 1
    """)
    report = export_model(model, tmp_path, name="m", heads=tmp_path / "heads.toml")
    outputs, heads = decoded(exported, report, image=rng.random((3, 16, 16, 3), "float32"))
    found = heads["boxes"]
    assert found.offsets.tolist() == [0, *np.cumsum((outputs["scores"] > 0.1).sum(axis=(1, 2)))]
    best = np.unravel_index(outputs["scores"][0].argmax(), (4, 2))
    x, y, width, height = outputs["boxes"][0, best[0]] * 16
    corners = np.clip([x - width / 2, y - height / 2, x + width / 2, y + height / 2], 0, 16)
    np.testing.assert_allclose(found.boxes[0], corners, rtol=1e-5)
    assert found.labels[0] == ["cat", "dog"][best[1]]


def test_means_and_variances_from_keras_to_intervals(tmp_path, exported, rng):
    setting = {"kind": "mean_variance", "spread": "log_variance", "spread_output": "spread", "confidence_level": 0.9}
    report = export_model(with_outputs(mean=1, spread=1), tmp_path, name="m", heads={"mean": setting}, units="mg/dl")
    outputs, heads = decoded(exported, report, x=rng.standard_normal((5, 4)).astype("float32"))
    deviations = np.exp(outputs["spread"] / 2)
    np.testing.assert_allclose(heads["mean"].standard_deviations, deviations, rtol=1e-6)
    np.testing.assert_allclose(heads["mean"].upper, norm.ppf(0.95, outputs["mean"], deviations), rtol=1e-6)


def test_a_level_of_confidence_waits_for_the_calibration(tmp_path, exported, dense, rng):
    settings, x = {"out": {"confidence_level": 0.8}}, rng.standard_normal((60, 4)).astype("float32")
    with pytest.raises(HeadInferenceError, match="confidence_level cannot be had"):
        export_model(dense(1, loss="mse"), tmp_path, heads=settings)
    report = export_model(dense(1, loss="mse"), tmp_path, heads=settings, calibration=(x, x.sum(axis=1)))
    _, heads = decoded(exported, report, x=x)
    assert heads["out"].confidence_level == 0.8
    covered = (heads["out"].lower[:, 0] <= x.sum(axis=1)) & (x.sum(axis=1) <= heads["out"].upper[:, 0])
    assert 0.8 <= covered.mean() < 0.9


def test_a_layer_with_several_outputs_is_named_by_its_first(tmp_path):
    x = keras.Input((6, 3), name="x")
    model = keras.Model(x, keras.layers.GRU(4, return_sequences=True, return_state=True, name="gru")(x))
    report = export_model(model, tmp_path, heads={"gru": None, "gru_1": None}, dry_run=True)
    assert not report.undecided
    assert not report.signature.heads


def test_the_name_of_a_layer_is_that_of_its_first_output_for_shortcuts_too(heads_of):
    x = keras.Input((6, 3), name="x")
    model = keras.Model(x, keras.layers.LSTM(4, return_state=True, name="lstm")(x))
    settings = {"lstm": "regression", "lstm_1": "regression", "lstm_2": None}
    heads = heads_of(model, settings, units={"lstm": "V"})
    assert [list(head.regression.units) for head in heads] == [["V"], []]


def test_a_layer_may_be_called_as_the_key_of_another_output(tmp_path):
    x = keras.Input((3,), name="x")
    outputs = {"a": keras.layers.Dense(1, "sigmoid", name="b")(x), "b": keras.layers.Dense(1, name="a")(x)}
    model = keras.Model(x, outputs)
    model.compile(loss={"a": "binary_crossentropy", "b": "mse"})
    report = export_model(model, tmp_path, units={"b": "V"}, threshold={"a": 0.3}, dry_run=True)
    assert [head.WhichOneof("kind") for head in report.signature.heads] == ["binary", "regression"]
    assert report.signature.heads[0].binary.threshold == 0.3
    assert list(report.signature.heads[1].regression.units) == ["V"]

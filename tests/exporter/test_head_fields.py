"""What users may say of any field of any kind of head."""

import numpy as np
import pytest

from headgate.exporter.errors import HeadInferenceError
from headgate.exporter.head_settings import COMMON_FIELDS, KINDS, check_fields, fields_of, message_of
from headgate.v1 import (
    AbstainBand,
    Activation,
    AnchorLevel,
    Anchors,
    AnomalyHead,
    BinaryHead,
    Calibration,
    CtcHead,
    DetectionHead,
    EmbeddingHead,
    Head,
    KeypointsHead,
    LabelGroup,
    MeanVarianceHead,
    MulticlassHead,
    OrdinalHead,
    PixelLayout,
    Prototypes,
    SegmentationHead,
    SequenceTagsHead,
)

VECTORS = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
PROTOTYPES = EmbeddingHead(prototypes=Prototypes(labels=["a", "b"], vectors=VECTORS.astype("<f4").tobytes()))


def test_there_is_every_kind():
    assert len(KINDS) == 15
    assert list(COMMON_FIELDS) == ["name", "activation", "description", "calibration", "confidence_level"]


@pytest.mark.parametrize(
    ("message", "fields", "expected"),
    [
        (BinaryHead, {"abstain": {"lower": 0.4, "upper": 0.6}}, BinaryHead(abstain=AbstainBand(lower=0.4, upper=0.6))),
        (BinaryHead, {"threshold": np.float32(0.25)}, BinaryHead(threshold=0.25)),
        (
            MulticlassHead,
            {"labels": np.array([3, 5]), "groups": [{"name": "odd", "members": ["3", "5"]}], "top_k": np.int64(2)},
            MulticlassHead(labels=["3", "5"], groups=[LabelGroup(name="odd", members=["3", "5"])], top_k=2),
        ),
        (
            MulticlassHead,
            {"groups": LabelGroup(name="odd", members=["3"])},
            MulticlassHead(groups=[LabelGroup(name="odd", members=["3"])]),
        ),
        (OrdinalHead, {"form": "Exceedance"}, OrdinalHead(form=OrdinalHead.FORM_EXCEEDANCE)),
        (OrdinalHead, {"form": "FORM_CUMULATIVE"}, OrdinalHead(form=OrdinalHead.FORM_CUMULATIVE)),
        (MeanVarianceHead, {"spread": "log_variance"}, MeanVarianceHead(spread=MeanVarianceHead.SPREAD_LOG_VARIANCE)),
        (SequenceTagsHead, {"scheme": "bioes"}, SequenceTagsHead(scheme=SequenceTagsHead.SCHEME_BIOES)),
        (CtcHead, {"blank": 0}, CtcHead(blank=0)),
        (
            SegmentationHead,
            {"layout": "channels_first", "independent": np.True_, "thresholds": 0.3},
            SegmentationHead(layout=PixelLayout.PIXEL_LAYOUT_CHANNELS_FIRST, independent=True, thresholds=[0.3]),
        ),
        (
            DetectionHead,
            {"box_format": "cxcywh", "grids": [8, 16], "anchors": {"boxes": np.ones((1, 4))}},
            DetectionHead(
                box_format=DetectionHead.BOX_FORMAT_CXCYWH,
                grids=[8, 16],
                anchors=Anchors(boxes=np.ones(4, "<f4").tobytes()),
            ),
        ),
        (
            DetectionHead,
            {"anchors": {"levels": [{"stride": 8, "sizes": [32.0], "ratios": (0.5, 1, 2)}]}},
            DetectionHead(anchors=Anchors(levels=[AnchorLevel(stride=8, sizes=[32], ratios=[0.5, 1, 2])])),
        ),
        (KeypointsHead, {"form": "heatmaps", "refine": True}, KeypointsHead(form="FORM_HEATMAPS", refine=True)),
        (
            AnomalyHead,
            {"reconstruction_error": "squared", "threshold": 3},
            AnomalyHead(reconstruction_error=AnomalyHead.RECONSTRUCTION_ERROR_SQUARED, threshold=3),
        ),
        (EmbeddingHead, {"prototypes": {"labels": ["a", "b"], "vectors": VECTORS}}, PROTOTYPES),
        (EmbeddingHead, {"prototypes": {"labels": np.array(["a", "b"]), "vectors": VECTORS.tolist()}}, PROTOTYPES),
        (
            Head,
            {"calibration": {"rows": 3, "versions": {"numpy": "2"}}, "activation": Activation.ACTIVATION_LOG},
            Head(calibration=Calibration(rows=3, versions={"numpy": "2"}), activation="ACTIVATION_LOG"),
        ),
    ],
)
def test_values_become_what_the_message_holds(message, fields, expected):
    assert message_of(message, fields, "") == expected


def fill(message):
    """Set every field of a message, and of those in it, but the kinds of a head."""
    for field in message.DESCRIPTOR.fields:
        if field.name in KINDS or (field.message_type and field.message_type.GetOptions().map_entry):
            continue
        if field.message_type:
            inner = getattr(message, field.name)
            fill(inner.add() if field.is_repeated else inner)
            continue
        of_types = {field.CPPTYPE_STRING: "text", field.CPPTYPE_ENUM: 1, field.CPPTYPE_BOOL: True}
        value = b"abcd" if field.type == field.TYPE_BYTES else of_types.get(field.cpp_type, 3)
        if field.is_repeated:
            getattr(message, field.name).append(value)
        else:
            setattr(message, field.name, value)


@pytest.mark.parametrize("kind", KINDS)
def test_a_head_and_its_fields_say_the_same(kind):
    head = Head()
    fill(head)
    fill(getattr(head, kind))
    head.output = "y"
    fields = fields_of("y", head)
    assert fields.pop("kind") == kind
    own = {name: fields.pop(name) for name in KINDS[kind]}
    assert message_of(Head, {**fields, "output": "y", kind: own}, "") == head


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"binary": {"thresold": 1}}, r"here: binary has no field 'thresold' \(did you mean 'threshold'\?\); it has"),
        ({"binary": {"threshold": "high"}}, "here: binary.threshold is 'high'; give a number"),
        ({"binary": {"threshold": True}}, "here: binary.threshold is True; give a number"),
        ({"binary": {"threshold": [0.1, 0.2]}}, "here: binary.threshold holds 2 values; give one"),
        ({"binary": {"abstain": 0.5}}, "here: binary.abstain is 0.5; give a dictionary with 'lower', 'upper'"),
        ({"binary": {"abstain": {"low": 0.5}}}, r"binary.abstain has no field 'low' \(did you mean 'lower'\?\)"),
        ({"binary": {"threshold": 10**400}}, "here: binary.threshold is 10000.*; give a number"),
        ({"multiclass": {"labels": [["a", "b"], "c"]}}, r"here: multiclass.labels is \['a', 'b'\]; give text"),
        ({"multiclass": {"labels": ["a", "\udcff"]}}, r"here: multiclass.labels is '\\udcff'; give text"),
        ({"multiclass": {"labels": {"a": 1}}}, "here: multiclass.labels is {'a': 1}; give text"),
        ({"calibration": {"versions": 3}}, "here: calibration.versions is 3; give a dictionary"),
        ({"multiclass": {"top_k": -1}}, "multiclass.top_k is -1; give a whole number, 0 or more"),
        ({"multiclass": {"top_k": 1.5}}, "multiclass.top_k is 1.5; give a whole number"),
        ({"ordinal": {"form": "corral"}}, "ordinal.form is 'corral'; give 'exceedance', 'cumulative', 'conditional'"),
        ({"ordinal": {"form": 9}}, "ordinal.form is 9; give 'exceedance'"),
        ({"ordinal": {"form": True}}, "ordinal.form is True; give 'exceedance'"),
        ({"ordinal": {"form": 1.0}}, "ordinal.form is 1.0; give 'exceedance'"),
        ({"segmentation": {"independent": "yes"}}, "segmentation.independent is 'yes'; give True or False"),
        ({"embedding": {"prototypes": {"labels": ["a"], "vector": [[1]]}}}, r"\(did you mean 'vectors'\?\)"),
        ({"embedding": {"prototypes": {"labels": ["a", "b"], "vectors": VECTORS.T}}}, "give numbers of shape"),
        ({"embedding": {"prototypes": {"labels": ["a"], "vectors": [[1], [2, 3]]}}}, "here: embedding.prototypes: "),
        ({"detection": {"anchors": {"boxes": ["x"]}}}, "detection.anchors.boxes holds no numbers"),
        ({"detection": {"anchors": {"boxes": [1.0]}}}, r"anchors.boxes has shape \[1\]; give one row for each"),
        ({"regression": {"scaling": 3}}, "regression.scaling is 3; give a dictionary"),
    ],
)
def test_what_no_field_takes_is_refused_by_its_name(fields, problem):
    with pytest.raises(HeadInferenceError, match=problem):
        message_of(Head, fields, "here: ")


@pytest.mark.parametrize(
    ("kind", "field", "problem"),
    [
        ("binary", "lables", r"a binary head has no field 'lables' \(did you mean 'labels'\?\); it has 'kind', 'name'"),
        ("regression", "grids", r"has no field 'grids' \(heads of the kind detection have it\)"),
        (None, "lables", r"no head has a field 'lables' \(did you mean 'labels'\?\)"),
    ],
)
def test_fields_that_are_not_there(kind, field, problem):
    with pytest.raises(HeadInferenceError, match=f"here: .*{problem}"):
        check_fields("here", ["kind", field], kind)

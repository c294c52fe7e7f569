import json

import pytest

from headgate.v1 import (
    ACTIVATION_LINEAR,
    ACTIVATION_LOGITS,
    BinaryHead,
    DataType,
    Head,
    MulticlassHead,
    ParityCheck,
    Provenance,
    RegressionHead,
    Signature,
    TargetScaling,
    TensorSpec,
    Tolerance,
    Verification,
)
from headgate.v1.signatures import SCHEMA_VERSION, signature_from_json, signature_to_json

SIGNATURE = Signature(
    schema_version=SCHEMA_VERSION,
    inputs=[TensorSpec(name="image", datatype=DataType.DATA_TYPE_FP32, shape=[-1, 8, 8, 1])],
    outputs=[TensorSpec(name="digit", datatype=DataType.DATA_TYPE_FP32, shape=[-1, 2])],
    heads=[
        Head(
            name="digit",
            output="digit",
            activation=ACTIVATION_LOGITS,
            multiclass=MulticlassHead(labels=["null", "żółw"]),
        ),
        Head(
            name="price",
            output="price",
            activation=ACTIVATION_LINEAR,
            regression=RegressionHead(units=["EUR"], scaling=TargetScaling(mean=[0.1], scale=[1 / 3], log1p=True)),
        ),
        Head(
            name="spam",
            output="spam",
            activation=ACTIVATION_LOGITS,
            description='two\nlines and a "quote"',
            binary=BinaryHead(labels=["ham", "spam"], threshold=0),
        ),
    ],
    verification=Verification(
        checks=[ParityCheck(output="digit", batch_size=3, inputs="random", max_absolute_error=1e-7)],
        tolerances=[Tolerance(output="digit", absolute=1e-5, rule="float32")],
    ),
    provenance=Provenance(exported_at="2026-11-21T18:00:00Z", opset=18, versions={"keras": "3.15.1"}),
)


def test_signatures_round_trip():
    assert signature_from_json(signature_to_json(SIGNATURE)) == SIGNATURE


def test_a_threshold_of_0_stays_set():
    assert signature_from_json(signature_to_json(SIGNATURE)).heads[2].binary.HasField("threshold")


def test_the_json_is_one_line_with_the_names_of_the_proto():
    written = signature_to_json(SIGNATURE)
    assert "\n" not in written
    assert "żółw" in written
    assert json.loads(written)["heads"][1]["regression"]["scaling"]["log1p"] is True
    assert json.loads(written)["schema_version"] == SCHEMA_VERSION


def test_fields_of_newer_releases_are_skipped():
    assert signature_from_json('{"schema_version": 1, "heads": [{"name": "a", "smell": "sweet"}]}').heads[0].name == "a"


@pytest.mark.parametrize("text", ["", "{", "3", '{"heads": 3}', "\0"])
def test_other_text_is_refused(text):
    with pytest.raises(ValueError, match=r"^the metadata under 'headgate\.signature' is no signature: "):
        signature_from_json(text)


def test_other_schemas_are_refused():
    with pytest.raises(
        ValueError, match=r"has schema version 2, this headgate reads versions up to 1; upgrade headgate$"
    ):
        signature_from_json('{"schema_version": 2}')
    with pytest.raises(ValueError, match=r"has no schema_version; export the model again$"):
        signature_from_json("{}")

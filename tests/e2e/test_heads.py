"""Heads of every kind, from a file to its callers: a server's answers are what the decoder itself says."""

import asyncio
import dataclasses
import json
import subprocess
import sys

import grpc
import numpy as np
import onnx.parser
import pytest
from onnx import helper

from headgate.client import AsyncClient, Client, InvalidRequestError
from headgate.decoders import DecodeOptions, decoder_for
from headgate.server import Server, ServerSettings
from headgate.server.errors import StartupError
from headgate.v1 import (
    ACTIVATION_LINEAR,
    ACTIVATION_LOG,
    ACTIVATION_LOGITS,
    ACTIVATION_PROBABILITIES,
    AnomalyHead,
    Conformal,
    CountHead,
    CtcHead,
    DataType,
    DetectionHead,
    EmbeddingHead,
    Head,
    KeypointsHead,
    MaskEncoding,
    MeanVarianceHead,
    OrdinalHead,
    Prediction,
    PredictOptions,
    PredictRequest,
    PredictResponse,
    SequenceTagsHead,
    Signature,
    StreamPredictResponse,
    TensorSpec,
)
from headgate.v1.columns import columns_from_prediction
from headgate.v1.signatures import METADATA_KEY, signature_to_json
from headgate.v1.tensors import tensor_from_numpy

ROWS = 4
LABELS = ["a", "b", "c", "d"]
EVERYTHING = {"include_probabilities": True, "include_entropy": True, "include_margin": True, "include_groups": True}


def conformal(method, *quantiles, **ends):
    return {"conformal": {"method": method, "rows": 99, "levels": [{"level": 0.9, "quantiles": quantiles, **ends}]}}


def scaled(method, **numbers):
    return {"probabilities": {"method": f"METHOD_{method}", **numbers}}


def boxes(width, height, **fields):
    detection = DetectionHead(labels=LABELS[:2], image_width=width, image_height=height, **fields)
    return {"activation": ACTIVATION_LOGITS, "detection": detection}


@dataclasses.dataclass(frozen=True)
class Case:
    """A model that gives back what it is sent, and what its output means.

    Attributes:
        shape: of a row of the output.
        head: the fields of the head.
        options: what requests ask for, one after another.
        refused: what the head cannot fulfil, and what is said about it.
        others: the shapes of rows of other outputs that the head reads, by name.
    """

    shape: tuple[int, ...]
    head: dict
    options: tuple[dict, ...] = ({},)
    refused: tuple[dict, str] | None = None
    others: dict[str, tuple[int, ...]] = dataclasses.field(default_factory=dict)

    @property
    def shapes(self):
        return {"y": self.shape} | self.others


CASES = {
    "regression": Case(
        (2,),
        {
            "activation": ACTIVATION_LINEAR,
            "regression": {"targets": ["rent", "area"], "units": ["EUR", "m²"], "scaling": {"mean": [500, 60]}},
            "calibration": conformal(Conformal.METHOD_ABSOLUTE, 50, 7),
        },
        ({}, {"confidence_level": 0.9}),
        ({"confidence_level": 0.5}, "confidence level 0.5"),
    ),
    "quantile": Case(
        (2, 3),
        {"activation": ACTIVATION_LINEAR, "quantile": {"levels": [0.1, 0.5, 0.9]}, "confidence_level": 0.8},
        ({}, {"confidence_level": 0}),
        ({"confidence_level": 0.99}, "confidence level 0.99"),
    ),
    "count": Case(
        (1,),
        {
            "activation": ACTIVATION_LOG,
            "count": CountHead(targets=["calls"]),
            "calibration": conformal(Conformal.METHOD_ABSOLUTE, 1.5),
        },
        ({}, {"confidence_level": 0.9}),
        ({"confidence_level": 0.5}, "confidence level 0.5"),
    ),
    "mean_variance": Case(
        (2,),
        {
            "activation": ACTIVATION_LINEAR,
            "mean_variance": {"spread": MeanVarianceHead.SPREAD_LOG_VARIANCE, "units": ["kg"]},
        },
        ({}, {"confidence_level": 0.95}),
    ),
    "binary": Case(
        (1,),
        {
            "activation": ACTIVATION_LOGITS,
            "binary": {"labels": ["no", "yes"], "threshold": 0.4, "abstain": {"lower": 0.3, "upper": 0.6}},
        },
        ({}, {"threshold": 0.8}),
    ),
    "multiclass": Case(
        (4,),
        {
            "activation": ACTIVATION_LOGITS,
            "multiclass": {
                "labels": LABELS,
                "abstain_below": 0.4,
                "groups": [{"name": "ab", "members": ["a", "b"]}, {"name": "all", "members": ["ab", "c", "d"]}],
            },
            "calibration": conformal(Conformal.METHOD_APS, 0.8),
        },
        ({}, {"top_k": 3}, {"confidence_level": 0.9}, {"top_k": 2, "confidence_level": 0.9, **EVERYTHING}),
        ({"confidence_level": 0.5}, "confidence level 0.5"),
    ),
    "multilabel": Case(
        (4,),
        {"activation": ACTIVATION_LOGITS, "multilabel": {"labels": LABELS, "thresholds": [0.5, 0.2, 0.9, 0.4]}},
        ({}, {"threshold": 0.1}, EVERYTHING),
    ),
    "ordinal": Case(
        (3,),
        {"activation": ACTIVATION_LOGITS, "ordinal": {"labels": LABELS, "form": OrdinalHead.FORM_EXCEEDANCE}},
        ({}, EVERYTHING),
    ),
    "embedding": Case(
        (3,),
        {
            "activation": ACTIVATION_LINEAR,
            "embedding": EmbeddingHead(
                normalize=True,
                prototypes={"labels": ["x", "y"], "vectors": np.array([[1, 0, 0], [0, 1, 1]], "<f4").tobytes()},
            ),
        },
        ({}, {"top_k": 2}, {"half_precision": True}),
    ),
    "sequence_tags": Case(
        (5, 3),
        {
            "activation": ACTIVATION_LOGITS,
            "sequence_tags": SequenceTagsHead(
                labels=["O", "B-x", "I-x"], scheme=SequenceTagsHead.SCHEME_BIO, mask_output="other"
            ),
        },
        others={"other": (5,)},
    ),
    "ctc": Case(
        (6, 4),
        {
            "activation": ACTIVATION_LOGITS,
            "ctc": CtcHead(labels=["a", "b", "c", ""], beam_width=4, lengths_output="other"),
        },
        ({}, {"top_k": 3}),
        others={"other": (1,)},
    ),
    "segmentation": Case(
        (4, 5, 3),
        {"activation": ACTIVATION_LOGITS, "segmentation": {"labels": LABELS[:3], "stride": 2}},
        ({}, {"mask_encoding": "class_map"}, {"mask_encoding": "run_lengths"}, {"mask_encoding": "none"}),
    ),
    "overlapping": Case(
        (4, 5, 3),
        {"activation": ACTIVATION_LOGITS, "segmentation": {"labels": LABELS[:3], "independent": True}},
        ({}, {"threshold": 0.1, "mask_encoding": "run_lengths"}),
    ),
    "detection": Case(
        (6, 6),
        {
            "activation": ACTIVATION_LOGITS,
            "detection": {"labels": LABELS[:2], "box_format": DetectionHead.BOX_FORMAT_CXCYWH, "iou_threshold": 0.3},
        },
        ({}, {"threshold": 0.6}, {"top_k": 2}),
        ({"relative_coordinates": True}, "cannot give relative coordinates: the image's size is not known"),
    ),
    "keypoints": Case(
        (6, 7, 2),
        {
            "activation": ACTIVATION_LOGITS,
            "keypoints": {"names": ["left", "right"], "form": KeypointsHead.FORM_HEATMAPS, "refine": True, "stride": 4},
        },
        ({}, {"relative_coordinates": True}),
    ),
    "coordinates": Case(
        (4,),
        {
            "activation": ACTIVATION_LINEAR,
            "keypoints": {"names": ["left", "right"], "form": KeypointsHead.FORM_COORDINATES},
        },
        ({},),
        ({"relative_coordinates": True}, "cannot give relative coordinates: the image's size is not known"),
    ),
    "anomaly": Case(
        (1,), {"activation": ACTIVATION_LINEAR, "anomaly": {"threshold": 0.5, "score_quantiles": [-1, 0, 2]}}
    ),
}
#: Other forms of the same kinds: of other outputs, otherwise calibrated, and with less to say.
CASES |= {
    "plain_regression": Case((1,), {"activation": ACTIVATION_LINEAR, "regression": {"scaling": {"log1p": True}}}),
    "widened_quantiles": Case(
        (3,),
        {
            "activation": ACTIVATION_LINEAR,
            "quantile": {"levels": [0.1, 0.5, 0.9]},
            "calibration": conformal(Conformal.METHOD_CQR, 0.3, lower_quantile=0.1, upper_quantile=0.9),
            "confidence_level": 0.9,
        },
        ({}, {"confidence_level": 0}),
    ),
    "rates": Case((2,), {"activation": ACTIVATION_LOG, "count": CountHead(units=["1/h"])}),
    "spreads_apart": Case(
        (2,),
        {
            "activation": ACTIVATION_LINEAR,
            "mean_variance": {"spread": MeanVarianceHead.SPREAD_STANDARD_DEVIATION, "spread_output": "other"},
            "calibration": conformal(Conformal.METHOD_SCALED, 1.5, 2),
        },
        ({}, {"confidence_level": 0.9}),
        others={"other": (2,)},
    ),
    "two_units": Case(
        (2,),
        {
            "activation": ACTIVATION_LOGITS,
            "binary": {"labels": ["no", "yes"], "positive_label": "no"},
            "calibration": scaled("PLATT", slopes=[0.5], intercepts=[0.2]),
        },
        ({}, {"threshold": 0.8}),
    ),
    "smallest_sets": Case(
        (4,),
        {
            "activation": ACTIVATION_LOGITS,
            "multiclass": {"labels": LABELS, "top_k": 2},
            "calibration": conformal(Conformal.METHOD_LAC, 0.7) | scaled("TEMPERATURE", temperatures=[2]),
            "confidence_level": 0.9,
        },
        ({}, {"confidence_level": 0}, EVERYTHING),
    ),
    "curves": Case(
        (2,),
        {
            "activation": ACTIVATION_LOGITS,
            "multilabel": {"labels": LABELS[:2]},
            "calibration": scaled("ISOTONIC", curves=[{"inputs": [0.2, 0.9], "outputs": [0, 1]}] * 2),
        },
        ({}, {"include_probabilities": True}),
    ),
    "raw_vectors": Case(
        (3,), {"activation": ACTIVATION_LINEAR, "embedding": EmbeddingHead()}, ({}, {"half_precision": True})
    ),
    "tags_alone": Case((5, 3), {"activation": ACTIVATION_LOGITS, "sequence_tags": SequenceTagsHead(labels=LABELS[:3])}),
    "greedy": Case((6, 4), {"activation": ACTIVATION_LOGITS, "ctc": CtcHead(labels=["", *"abc"], blank=0)}),
    "one_unit": Case(
        (4, 5, 1),
        {"activation": ACTIVATION_LOGITS, "segmentation": {"labels": ["no road", "road"]}},
        ({}, {"threshold": 0.9, "mask_encoding": "run_lengths"}),
    ),
    "anchors": Case(
        (6, 4),
        boxes(
            60,
            20,
            box_format=DetectionHead.BOX_FORMAT_ANCHOR_DELTAS,
            scores_output="other",
            exclusive=True,
            background=0,
            anchors={"levels": [{"stride": 20, "sizes": [12], "ratios": [0.5, 1]}]},
            variances=[0.1, 0.1, 0.2, 0.2],
        ),
        ({}, {"relative_coordinates": True, "threshold": 0.1}),
        others={"other": (6, 3)},
    ),
    "grids": Case(
        (6, 6),
        boxes(96, 64, box_format=DetectionHead.BOX_FORMAT_POINT_DISTANCES, transposed=True, grids=[32]),
        ({}, {"relative_coordinates": True, "threshold": 0.1}),
    ),
    "scored_points": Case(
        (2, 3),
        {
            "activation": ACTIVATION_LINEAR,
            "keypoints": KeypointsHead(
                names=["left", "right"],
                form=KeypointsHead.FORM_COORDINATES,
                relative=True,
                image_width=60,
                image_height=20,
            ),
        },
        ({}, {"relative_coordinates": True}),
    ),
    "scores_alone": Case((1,), {"activation": ACTIVATION_LINEAR, "anomaly": AnomalyHead()}),
}
BROKEN = {
    "labels": (
        (4,),
        {"activation": ACTIVATION_LOGITS, "multiclass": {"labels": LABELS[:3]}},
        "multiclass.labels has 3",
    ),
    "threshold": (
        (2,),
        {"activation": ACTIVATION_PROBABILITIES, "multilabel": {"labels": LABELS[:2], "thresholds": [1.5]}},
        "multilabel.thresholds holds 1.5",
    ),
    "stride": (
        (4, 5, 3),
        {"activation": ACTIVATION_LOGITS, "segmentation": {"labels": LABELS[:3], "stride": 2**32 - 1}},
        "segmentation.stride is 4294967295, which makes maps of 17179869180 x 21474836475 pixels",
    ),
    "picture": (
        (2,),
        {"activation": ACTIVATION_LOGITS, "segmentation": {"labels": LABELS[:2]}},
        "output 'y' is FP32 [batch,2]; a segmentation head",
    ),
}


def head_of(name):
    return Head(name="h", output="y", **CASES[name].head)


def specs_of(shapes, prefix=""):
    return [
        TensorSpec(name=f"{prefix}{output}", datatype=DataType.DATA_TYPE_FP32, shape=[-1, *shape])
        for output, shape in shapes.items()
    ]


def signature_of(shapes, head):
    inputs, outputs = specs_of(shapes, "in_"), specs_of(shapes)
    return signature_to_json(Signature(schema_version=1, inputs=inputs, outputs=outputs, heads=[head]))


def write_model(folder, name, shapes, signature):
    """Write a model that gives back its inputs: what it is sent as `in_y` comes out as `y`."""
    typed = {output: f"float[{','.join(['batch', *map(str, shape)])}]" for output, shape in shapes.items()}
    inputs = ", ".join(f"{kind} in_{output}" for output, kind in typed.items())
    outputs = ", ".join(f"{kind} {output}" for output, kind in typed.items())
    nodes = " ".join(f"{output} = Identity(in_{output})" for output in shapes)
    graph = f"g ({inputs}) => ({outputs}) {{ {nodes} }}"
    model = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 18]> {graph}')
    helper.set_model_props(model, {METADATA_KEY: signature})
    path = folder / name / "1" / "model.onnx"
    path.parent.mkdir(parents=True)
    path.write_bytes(model.SerializeToString())


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    """Where a server process serves all models."""
    folder = tmp_path_factory.mktemp("models")
    for name, case in CASES.items():
        write_model(folder, name, case.shapes, signature_of(case.shapes, head_of(name)))
    command = [sys.executable, "-m", "headgate.cli", "serve", str(folder), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        ready = next((line for line in process.stdout if line.startswith("ready")), "never ready")
        yield f"localhost:{int(ready.rpartition(':')[2])}"
        process.terminate()
        process.stdout.read()
    assert process.returncode == 0


@pytest.fixture(scope="module")
def client(url):
    with Client(url) as connected:
        yield connected


@pytest.fixture(scope="module")
def calls(url):
    service = "/headgate.v1.PredictionService/"
    with grpc.insecure_channel(url) as channel:
        yield (
            channel.unary_unary(f"{service}Predict", PredictRequest.SerializeToString, PredictResponse.FromString),
            channel.stream_stream(
                f"{service}StreamPredict", PredictRequest.SerializeToString, StreamPredictResponse.FromString
            ),
        )


def outputs_of(name):
    """What the model gives: row 1 holds a NaN, and where lengths or masks are read no row is empty."""
    rng = np.random.default_rng(7)
    case = CASES[name]
    outputs = {"y": rng.normal(scale=2, size=(ROWS, *case.shape)).astype(np.float32)}
    outputs["y"].reshape(ROWS, -1)[1, 0] = np.nan
    for other, shape in case.others.items():
        outputs[other] = rng.integers(1, 3, (ROWS, *shape)).astype(np.float32)
    return outputs


def in_terms_of_the_proto(options):
    if "mask_encoding" not in options:
        return options
    return options | {"mask_encoding": MaskEncoding.Value(f"MASK_ENCODING_{options['mask_encoding'].upper()}")}


def decode(name, options):
    """What the decoder says to all rows."""
    decoder = decoder_for(head_of(name), specs_of(CASES[name].shapes))
    return decoder.decode(outputs_of(name), DecodeOptions(**in_terms_of_the_proto(options)))


def request_of(name, options, rows=slice(None)):
    inputs = [tensor_from_numpy(array[rows], f"in_{output}") for output, array in outputs_of(name).items()]
    return PredictRequest(model=name, inputs=inputs, options=PredictOptions(**in_terms_of_the_proto(options)))


def assert_same(columns, expected):
    assert type(columns) is type(expected)
    for field in dataclasses.fields(expected):
        np.testing.assert_array_equal(getattr(columns, field.name), getattr(expected, field.name), field.name)


EACH = [
    pytest.param(name, options, id="-".join([name, *options]))
    for name, case in CASES.items()
    for options in case.options
]
REFUSED = [pytest.param(name, *case.refused, id=name) for name, case in CASES.items() if case.refused]


def test_all_kinds_are_here():
    kinds = {field.name for field in Head.DESCRIPTOR.oneofs_by_name["kind"].fields}
    assert {head_of(name).WhichOneof("kind") for name in CASES} == kinds
    assert len(kinds) == len(Prediction.DESCRIPTOR.oneofs_by_name["columns"].fields)


@pytest.mark.parametrize(("name", "options"), EACH)
def test_every_way_gives_what_the_decoder_says(client, calls, name, options):
    expected = decode(name, options)
    assert expected.valid.tolist() == [True, False, True, True]
    predict, stream_predict = calls

    [prediction] = predict(request_of(name, options)).predictions
    assert (prediction.head, list(prediction.invalid_rows)) == ("h", [1])
    assert_same(columns_from_prediction(prediction, ROWS), expected)

    parts = [(0, 1), (1, 2), (2, 4)]
    answers = stream_predict(iter([request_of(name, options, slice(*part)) for part in parts]))
    for (start, stop), answer in zip(parts, answers, strict=True):
        [prediction] = answer.response.predictions
        assert_same(columns_from_prediction(prediction, stop - start), expected.rows(start, stop))

    inputs = {f"in_{output}": array for output, array in outputs_of(name).items()}
    predictions = client.predict(name, inputs, **options)
    assert_same(predictions["h"], expected)
    streamed = client.stream_predict(name, [inputs, inputs], **options)
    for each in streamed:
        assert_same(each["h"], expected)

    rows = json.loads(json.dumps(predictions.to_dicts(), allow_nan=False))
    assert [row["h"] is None for row in rows] == [False, True, False, False]
    assert "invalid: the model gave NaN" in repr(predictions)


@pytest.mark.parametrize("name", CASES)
def test_asyncio_gives_what_the_decoder_says(url, name):
    inputs = {f"in_{output}": array for output, array in outputs_of(name).items()}

    async def ask():
        async with AsyncClient(url) as client:
            streamed = [each async for each in client.stream_predict(name, [inputs])]
            return [await client.predict(name, inputs), *streamed]

    for answer in asyncio.run(ask()):
        assert_same(answer["h"], decode(name, {}))


@pytest.mark.parametrize(("name", "options"), EACH)
def test_no_rows_have_no_answers(client, name, options):
    predictions = client.predict(
        name, {f"in_{output}": array[:0] for output, array in outputs_of(name).items()}, **options
    )
    expected, columns = decode(name, options).rows(0, 0), predictions["h"]
    assert predictions.to_dicts() == []
    for field in dataclasses.fields(expected):
        # What nobody can tell from what is empty is empty.
        value, wanted = getattr(columns, field.name), getattr(expected, field.name)
        if wanted is not None:
            np.testing.assert_array_equal(value, wanted, field.name)
        elif field.name in ("lower", "upper", "set_offsets"):
            assert value is None


@pytest.mark.parametrize(("name", "options", "message"), REFUSED)
def test_what_a_head_cannot_give_is_refused(client, calls, name, options, message):
    predict, stream_predict = calls
    with pytest.raises(grpc.RpcError) as caught:
        predict(request_of(name, options))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "head 'h'" in caught.value.details()
    assert message in caught.value.details()

    refused, answered = stream_predict(iter([request_of(name, options), request_of(name, {})]))
    assert (refused.error.code, refused.error.message) == (3, caught.value.details())
    assert answered.response.rows == ROWS

    with pytest.raises(InvalidRequestError, match=message):
        client.predict(name, {f"in_{output}": array for output, array in outputs_of(name).items()}, **options)


def load(folder):
    Server(ServerSettings(repository=folder, port=0)).start()


@pytest.mark.parametrize("broken", BROKEN)
def test_broken_heads_do_not_load(tmp_path, broken):
    shape, fields, message = BROKEN[broken]
    head = Head(name="h", output="y", **fields)
    write_model(tmp_path, "m", {"y": shape}, signature_of({"y": shape}, head))
    with pytest.raises(StartupError) as caught:
        load(tmp_path)
    assert f"{tmp_path}/m/1/model.onnx: head 'h': {message}" in str(caught.value)


def test_a_kind_of_a_newer_headgate_does_not_load(tmp_path):
    signature = json.loads(signature_of({"y": (1,)}, head_of("anomaly")))
    signature["heads"][0]["hologram"] = signature["heads"][0].pop("anomaly")
    write_model(tmp_path, "m", {"y": (1,)}, json.dumps(signature))
    with pytest.raises(StartupError, match=r"head 'h': kind is not set, or one of a newer headgate; give .*anomaly"):
        load(tmp_path)

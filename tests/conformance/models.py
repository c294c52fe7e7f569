"""The models of the run, and the cases that clients ask them, with answers that numpy alone has computed."""

import numpy as np
import onnx
import onnx.parser
from onnx import helper

from headgate.v1 import (
    ACTIVATION_LINEAR,
    ACTIVATION_LOGITS,
    ACTIVATION_PROBABILITIES,
    BinaryHead,
    Calibration,
    Head,
    MulticlassHead,
    ProbabilityCalibration,
    RegressionHead,
    Signature,
)
from headgate.v1.signatures import METADATA_KEY, signature_to_json
from tests.conformance.clients.plan import DTYPES, Case, Tensor

#: By the protocol's names, as onnx.parser calls them.
ONNX_TYPES = {"FP16": "float16", "FP32": "float", "FP64": "double", "BF16": "bfloat16", "BYTES": "string"} | {
    name: name.lower() for name in ("BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64")
}
LOADED_AT_START = (
    *(f"identity_{datatype}" for datatype in ONNX_TYPES),
    *("sums", "fruit", "tumor", "price", "spare", "churn", "busy"),
)
FRUIT = ("apple", "pear", "plum")
TEMPERATURE = 2.0
PLANS = {b"basic": 0.5, b"gold": -1.5}
#: Version 2 sees its features the other way round.
FRUIT_WEIGHTS = {1: np.float32([[2, 0, 0], [0, 2, 0], [0, 0, 2]]), 2: np.float32([[0, 0, 2], [0, 2, 0], [2, 0, 0]])}

_IDENTITY = "g ({type}[batch,n] x) => ({type}[batch,n] y) {{ y = Identity(x) }}"
_SUMS = """g (float[batch,2] a, int32[batch,1] b) => (float[batch,3] joined, float[batch,1] total)
    <int64[1] last = {1}>
    { c = Cast<to=1>(b)  joined = Concat<axis=1>(a, c)  total = ReduceSum<keepdims=1>(joined, last) }"""
_FRUIT = "g (float[batch,3] features) => (float[batch,3] logits) { logits = MatMul(features, w) }"
_TUMOR = "g (float[batch,1] size) => (float[batch,1] p) { p = Sigmoid(size) }"
_PRICE = "g (float[batch,2] rooms) => (float[batch,1] y) <float[2,1] w = {100, 10}> { y = MatMul(rooms, w) }"
_CHURN = """g (float[batch,1] age, int64[batch,1] visits, string[batch,1] plan) => (float[batch,1] logit)
    <float tenth = {0.1}> {
    w = ai.onnx.ml.LabelEncoder<keys_strings = ["basic", "gold"], values_floats = [0.5, -1.5]>(plan)
    v = Cast<to=1>(visits)  a = Mul(age, tenth)  less = Sub(a, v)  logit = Add(less, w) }"""
# Some tens of microseconds of a processor for each step.
_BUSY = """g (int64[batch,1] steps) => (int64[batch,1] done) <int64[2] size = {160,160}> {
    zeros = ConstantOfShape(size)  eye = EyeLike(zeros)  most = ReduceMax<keepdims=0>(steps)
    yes = Constant<value = bool {1}>()
    last = Loop(most, yes, eye) <body = b (int64 i, bool go_on, float[160,160] m) => (bool again, float[160,160] n)
        { again = Identity(go_on)  n = MatMul(m, eye) }>
    corner = ReduceMax<keepdims=0>(last)  one = Cast<to=7>(corner)  done = Mul(steps, one) }"""


def write_models(repository):
    """Write all models into a folder."""
    for datatype, name in ONNX_TYPES.items():
        _write(repository, f"identity_{datatype}", _IDENTITY.format(type=name))
    _write(repository, "sums", _SUMS)
    calibration = Calibration(
        probabilities=ProbabilityCalibration(
            method=ProbabilityCalibration.METHOD_TEMPERATURE, temperatures=[TEMPERATURE]
        )
    )
    fruit = Head(name="fruit", output="logits", activation=ACTIVATION_LOGITS, multiclass=MulticlassHead(labels=FRUIT))
    fruit.calibration.CopyFrom(calibration)
    for version, weights in FRUIT_WEIGHTS.items():
        _write(repository, "fruit", _FRUIT, [fruit], version=version, weights={"w": weights})
    repository.joinpath("fruit", "config.toml").write_text(
        "[versions]\nall = true\n\n[versions.labels]\nstable = 1\ncanary = 2\n"
    )
    finding = BinaryHead(labels=["benign", "malignant"], threshold=0.3)
    _write(
        repository, "tumor", _TUMOR,
        [Head(name="finding", output="p", activation=ACTIVATION_PROBABILITIES, binary=finding)],
    )  # fmt: skip
    price = [Head(name="price", output="y", activation=ACTIVATION_LINEAR, regression=RegressionHead(units=["EUR"]))]
    _write(repository, "price", _PRICE, price)
    # What clients unload and load again.
    _write(repository, "spare", _PRICE, price)
    leaves = BinaryHead(labels=["stays", "leaves"])
    _write(
        repository, "churn", _CHURN, [Head(name="churn", output="logit", activation=ACTIVATION_LOGITS, binary=leaves)]
    )
    _write(repository, "busy", _BUSY)
    # One request at a time: none runs as a part of the batch of one that takes long.
    repository.joinpath("busy", "config.toml").write_text(
        '[batching]\nmax_batch_size = 1\n\n[execution]\nmode = "threads"\n'
    )


def make_cases():
    """Return the cases by name; those of a data type are called by it."""
    rng = np.random.default_rng(0)
    cases = {datatype: _identity(datatype, _examples(datatype)) for datatype in ONNX_TYPES}
    for datatype in ("FP16", "FP32", "FP64"):
        array = np.array([[np.nan, np.inf, -np.inf]], DTYPES[datatype])
        cases[f"{datatype}, not finite"] = _identity(datatype, array)
    cases["BYTES, empty, with zeros, beyond ASCII"] = _identity(
        "BYTES", _texts([[b"", b"a\0b"], ["ü✗".encode(), b"\0"]])
    )
    cases["BYTES, not UTF-8"] = _identity("BYTES", _texts([[b"\xff\xfe"]]))
    cases["no rows"] = _identity("FP32", np.zeros((0, 3), np.float32))
    cases["rows of no elements"] = _identity("FP32", np.zeros((2, 0), np.float32))
    cases["BYTES, no rows"] = _identity("BYTES", np.empty((0, 2), object))
    cases["4 MiB"] = _identity("FP32", rng.normal(size=(4, 256 * 1024)).astype(np.float32))
    cases["more rows than a batch"] = _identity("FP32", rng.normal(size=(200, 3)).astype(np.float32))
    cases["two inputs, two outputs"] = _sums()
    for version in FRUIT_WEIGHTS:
        cases[f"fruit {version}"] = _fruit(version)
    cases["tumor"] = _tumor()
    cases["price"] = _price("price")
    cases["spare"] = _price("spare")
    cases["churn"] = _churn()
    cases["busy"] = _busy(4_000)
    cases["short"] = _busy(1)
    return cases


def _examples(datatype):
    if datatype == "BYTES":
        return _texts([[b"a", b"some text"], [b"b", b"x" * 300]])
    if datatype == "BOOL":
        return np.array([[True, False], [False, False]])
    if datatype == "BF16":
        return np.float32([[0.5, -1.25], [3.0, 2.0**100]])
    dtype = DTYPES[datatype]
    if datatype.startswith("FP"):
        return np.array([[0.5, -1.25, 100], [-0.0, 1e4, 6e-5]], dtype)
    limits = np.iinfo(dtype)
    return np.array([[limits.min, limits.max, 1], [0, 2, 3]], dtype)


def _texts(rows):
    array = np.empty((len(rows), len(rows[0])), object)
    array[:] = rows
    return array


def _identity(datatype, array):
    return Case(f"identity_{datatype}", {"x": Tensor(datatype, array)}, {"y": Tensor(datatype, array)})


def _sums():
    a, b = np.float32([[1, 2], [3, 4.5]]), np.int32([[5], [-6]])
    joined = np.hstack([a, b.astype(np.float32)])
    return Case(
        "sums",
        {"a": Tensor("FP32", a), "b": Tensor("INT32", b)},
        {"joined": Tensor("FP32", joined), "total": Tensor("FP32", joined.sum(axis=1, keepdims=True))},
    )


def _fruit(version):
    features = np.float32([[3, 1, 0], [0, 0.5, 0.25]])
    logits = features @ FRUIT_WEIGHTS[version]
    powers = np.exp(logits / TEMPERATURE)
    return Case(
        "fruit",
        {"features": Tensor("FP32", features)},
        {"logits": Tensor("FP32", logits)},
        str(version),
        {"logits": _label_scores(FRUIT, powers / powers.sum(axis=1, keepdims=True))},
    )


def _tumor():
    size = np.float32([[-0.5], [-3], [2]])
    p = 1 / (1 + np.exp(-size))
    scores = {"p": _label_scores(("benign", "malignant"), np.hstack([1 - p, p]))}
    return Case("tumor", {"size": Tensor("FP32", size)}, {"p": Tensor("FP32", p)}, "1", scores)


def _price(name):
    rooms = np.float32([[1, 2], [0.5, -1]])
    y = rooms @ np.float32([[100], [10]])
    return Case(name, {"rooms": Tensor("FP32", rooms)}, {"y": Tensor("FP32", y)}, "1")


def _churn():
    age, visits = np.float32([[30], [50]]), np.int64([[2], [3]])
    plan = _texts([[b"basic"], [b"gold"]])
    logit = (0.1 * age - visits + np.float32([[PLANS[element]] for element in plan[:, 0]])).astype(np.float32)
    p = 1 / (1 + np.exp(-logit))
    return Case(
        "churn",
        {"age": Tensor("FP32", age), "visits": Tensor("INT64", visits), "plan": Tensor("BYTES", plan)},
        {"logit": Tensor("FP32", logit)},
        "1",
        {"logit": _label_scores(("stays", "leaves"), np.hstack([1 - p, p]))},
    )


def _busy(steps):
    array = np.int64([[steps]])
    return Case("busy", {"steps": Tensor("INT64", array)}, {"done": Tensor("INT64", array)})


def _label_scores(labels, probabilities):
    return [[[label, float(p)] for label, p in zip(labels, row, strict=True)] for row in probabilities]


def _write(repository, name, graph, heads=(), *, version=1, weights=None):
    model = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 18, "ai.onnx.ml" : 3]> {graph}')
    for key, array in (weights or {}).items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(array, key))
    if heads:
        helper.set_model_props(model, {METADATA_KEY: signature_to_json(Signature(schema_version=1, heads=heads))})
    onnx.checker.check_model(model)
    path = repository / name / str(version) / "model.onnx"
    path.parent.mkdir(parents=True)
    onnx.save(model, path)

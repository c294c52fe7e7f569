import numpy as np
import pytest

from tests.conformance.clients.plan import Plan, Tensor, read_plan, write_plan
from tests.conformance.models import make_cases


def test_a_plan_is_read_as_it_was_written(tmp_path):
    cases = make_cases()
    write_plan(tmp_path / "plan.json", Plan("a:1", "b:2", cases, "root.pem", only_main=True))
    plan = read_plan(tmp_path / "plan.json")
    assert (plan.grpc, plan.http, list(plan.cases)) == ("a:1", "b:2", list(cases))
    assert (plan.authority, plan.only_main) == ("root.pem", True)
    for name, case in cases.items():
        read = plan.cases[name]
        assert (read.model, read.version, read.scores) == (case.model, case.version, case.scores)
        for written, again in ((case.inputs, read.inputs), (case.outputs, read.outputs)):
            assert written.keys() == again.keys()
            for key, tensor in written.items():
                tensor.assert_equal(again[key].array)
                assert again[key].raw() == tensor.raw()


def test_raw_bytes():
    assert Tensor("BYTES", np.array([[b"ab"], [b""]], object)).raw() == b"\2\0\0\0ab\0\0\0\0"
    assert Tensor("BF16", np.float32([1, -2])).raw() == b"\x80\x3f\x00\xc0"
    assert Tensor("FP16", np.float16([1])).raw() == b"\x00\x3c"


@pytest.mark.parametrize(
    "other",
    [None, np.float32([1, 2]), np.float32([[1, 3]]), np.float64([[1, 2]])],
    ids=["none", "shape", "value", "type"],
)
def test_what_differs_is_noticed(other):
    with pytest.raises(AssertionError):
        Tensor("FP32", np.float32([[1, 2]])).assert_equal(other)


def test_text_that_differs_is_noticed():
    tensor = Tensor("BYTES", np.array(["ü".encode()], object))
    tensor.assert_equal(np.array(["ü"], object))
    with pytest.raises(AssertionError):
        tensor.assert_equal(np.array(["u"], object))


@pytest.mark.parametrize(
    ("datatype", "array", "expected"),
    [
        ("FP32", np.float32([1]), True),
        ("FP32", np.float32([np.nan]), False),
        ("FP16", np.float16([1]), False),
        ("BYTES", np.array(["ü".encode()], object), True),
        ("BYTES", np.array([b"\xff"], object), False),
    ],
)
def test_what_has_json(datatype, array, expected):
    assert Tensor(datatype, array).is_json is expected

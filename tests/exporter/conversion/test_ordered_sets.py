import sys

import tf2onnx.graph
import tf2onnx.tfonnx
import tf2onnx.utils
from hypothesis import given
from hypothesis import strategies as st

from headgate.exporter.conversion.ordered_sets import OrderedSet, ordered_sets

items = st.lists(st.integers(0, 9))


@given(items, items)
def test_holds_what_a_set_holds_in_order_of_insertion(first, second):
    ours, others = OrderedSet(first), OrderedSet(second)
    assert list(ours) == list(dict.fromkeys(first))
    for operation in ("__and__", "__or__", "__sub__", "__xor__", "__le__", "union", "intersection", "difference"):
        assert getattr(ours, operation)(others) == getattr(set(first), operation)(set(second)), operation
    assert ours.issubset(second) == set(first).issubset(second)
    ours.update(second)
    assert list(ours) == list(dict.fromkeys(first + second))


def test_set_means_ordered_set_in_tf2onnx_for_a_while():
    with ordered_sets():
        assert tf2onnx.graph.set is OrderedSet
        assert tf2onnx.utils.make_name("node") == "node__1"
    assert not [name for name, module in sys.modules.items() if name.startswith("tf2onnx") and "set" in vars(module)]


def test_tf2onnx_is_the_version_whose_sets_were_read():
    assert tf2onnx.__version__.startswith("1.17.")

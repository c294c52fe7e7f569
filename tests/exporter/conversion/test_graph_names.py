import re

import keras
import onnx
import pytest

from headgate.exporter.conversion.converter import convert
from headgate.exporter.conversion.graph_names import layer_of, nodes_of

layers = keras.layers


@pytest.fixture
def graph(traced):
    inner = keras.Sequential([layers.Conv2D(3, 3, name="first"), layers.ReLU(name="bent")], name="inner")
    image = keras.Input((6, 6, 2), name="image")
    shared = layers.Dense(3, name="shared")
    flat = layers.Flatten(name="flat")(inner(image))
    joined = layers.Add(name="sum")([shared(flat), shared(layers.Activation("gelu", name="gelu")(flat))])
    return convert(traced(keras.Model(image, layers.Dense(1, name="shared_1")(joined), name="net"))).graph


def test_nodes_are_called_after_their_layers(graph):
    names = [node.name for node in graph.node]
    assert {"inner/first/convolution", "inner/bent/Relu", "shared/MatMul", "shared/MatMul_1", "shared_1/MatMul"} < {
        *names
    }
    assert len(set(names)) == len(names)
    assert not [name for name in names if "__" in name or name.split("/")[0] == "net"]
    assert {name.split("/")[0] for name in names} == {"inner", "flat", "gelu", "shared", "sum", "shared_1"}


def test_tensors_and_constants_are_called_after_nodes(graph):
    by_name = {node.name: node for node in graph.node}
    assert by_name["shared_1/MatMul"].input[1] == "shared_1/MatMul/B"
    assert [value.name for value in (*graph.input, *graph.output)] == ["image", "shared_1"]
    outputs = {tensor for node in graph.node for tensor in node.output}
    assert outputs <= by_name.keys() | {"shared_1"}


def test_every_node_comes_after_those_that_it_needs(graph):
    known = {value.name for value in (*graph.input, *graph.initializer)}
    for node in graph.node:
        assert known.issuperset(filter(None, node.input))
        known.update(node.output)


@pytest.mark.parametrize(
    ("node", "layer"),
    [
        ("net_1/dense_1/MatMul__7", "layer 'dense'"),
        ("net_1/dense_1_2/MatMul", "layer 'dense_1'"),
        ("net_1/dense__4_1/MatMul", "layer 'dense__4'"),
        # An operation that is called as a layer is.
        ("net_1/dense_1/add_1", "layer 'dense'"),
        ("add", "node 'add'"),
        ("Transpose__12", "node 'Transpose__12'"),
    ],
)
def test_the_layer_of_a_node(node, layer):
    assert layer_of(node, {name: name for name in ("net", "dense", "dense_1", "dense__4", "add")}) == layer


@pytest.mark.backends
def test_layers_of_keras_2_whose_names_differ_in_a_number(traced):
    tf_keras = pytest.importorskip("tf_keras")
    stack = [tf_keras.layers.Dense(3, name=name) for name in ("dense", "dense_1")]
    model = convert(traced(tf_keras.Sequential([tf_keras.Input((4,)), *stack], name="net")))
    assert [node.name for node in model.graph.node if node.op_type == "MatMul"] == ["dense/MatMul", "dense_1/MatMul"]


def test_inner_graphs_are_named_too(traced):
    import tensorflow as tf

    class Loop(layers.Layer):
        def call(self, x):
            return tf.while_loop(lambda i, y: i < tf.shape(x)[0], lambda i, y: (i + 1, y * 1.5), [0, x])[1]

    x = keras.Input((2,))
    model = convert(traced(keras.Model(x, Loop(name="loop")(x))))
    onnx.checker.check_model(model, full_check=True)
    assert [node for node in nodes_of(model.graph) if node.op_type == "Loop"]
    assert not [node.name for node in nodes_of(model.graph) if re.search(r"__\d", node.name)]

import keras
import numpy as np
import pytest

from headgate.exporter.errors import ConversionError

layers = keras.layers
WORDS = ["a", "é", "日本", "", " ", "ZZ", "\N{GRINNING FACE}", "a\x00b"]
TEXTS = np.array([["a", "ZZ", "é"], ["日本", "zz", " "], ["", "a\x00b", "a"]], object)
NUMBERS = [3, -7, 9, 2**40]
CODES = np.array([[3, -7, 9], [2**40, 5, 0], [9, 9, -2]])
ENCODINGS = [
    {},
    {"output_mode": "one_hot"},
    {"output_mode": "multi_hot"},
    {"output_mode": "count"},
    {"output_mode": "tf_idf", "idf_weights": True},
]


def made(layer, vocabulary, **settings):
    if "mask_token" in settings:
        vocabulary = [value for value in vocabulary if value != settings["mask_token"]]
    if "idf_weights" in settings:
        settings["idf_weights"] = [0.5 + index for index in range(len(vocabulary))]
    return layer(vocabulary=vocabulary, **settings)


@pytest.mark.parametrize("settings", [*ENCODINGS, {"mask_token": "ZZ"}, {"mask_token": ""}])
def test_text_to_indices(compare, one_layer, settings):
    layer = made(layers.StringLookup, WORDS, **settings)
    compare(one_layer(layer, 3, "string"), TEXTS, TEXTS[:1], TEXTS[1:2])


@pytest.mark.parametrize(
    "settings", [*ENCODINGS, {"mask_token": 9}, {"num_oov_indices": 3}, {"num_oov_indices": 3, "mask_token": 0}]
)
def test_integers_to_indices(compare, one_layer, settings):
    layer = made(layers.IntegerLookup, NUMBERS, **settings)
    compare(one_layer(layer, 3, "int64"), CODES, CODES[1:2])


def test_closed_vocabularies(compare, one_layer):
    compare(one_layer(layers.StringLookup(vocabulary=WORDS, num_oov_indices=0), 3, "string"), TEXTS[[0, 2]])
    compare(one_layer(layers.IntegerLookup(vocabulary=NUMBERS, num_oov_indices=0), 3, "int64"), CODES[:1])


def test_indices_to_values(compare, one_layer):
    indices = np.array([[0, 1, 2], [3, 99, -1]])
    compare(one_layer(layers.StringLookup(vocabulary=WORDS, invert=True), 3, "int64"), indices)
    compare(one_layer(layers.IntegerLookup(vocabulary=NUMBERS, invert=True), 3, "int64"), indices)


def test_random_vocabularies(compare, one_layer, rng):
    alphabet = [chr(code) for code in (*range(32, 127), *range(0xE0, 0x100), *range(0x4E00, 0x4E20), 0x1F600)]
    words = list({"".join(rng.choice(alphabet, rng.integers(1, 6))) for _ in range(300)})
    texts = rng.choice([*words, "", "unknown"], (50, 3)).astype(object)
    converted = compare(one_layer(layers.StringLookup(vocabulary=words), 3, "string"), texts)
    [table] = [node for node in converted.graph.node if node.op_type == "LabelEncoder"]
    [keys] = [[*attribute.strings] for attribute in table.attribute if attribute.name == "keys_strings"]
    # The same file each time: TensorFlow's tables have no order.
    assert keys == sorted(keys)


@pytest.mark.parametrize("mode", ["one_hot", "multi_hot", "count"])
def test_category_encoding(compare, one_layer, rng, mode):
    layer = layers.CategoryEncoding(6, output_mode=mode)
    compare(one_layer(layer, 3, "int64"), rng.integers(0, 6, (5, 3)), rng.integers(0, 6, (1, 3)))


@pytest.fixture
def weighted():
    def make(count):
        numbers, weights = keras.Input((3,), dtype="int32", name="numbers"), keras.Input((3,), name="weights")
        return keras.Model([numbers, weights], count(numbers, weights), name="m")

    return make


def test_counted_weights(compare, weighted, rng):
    encoding = layers.CategoryEncoding(4, output_mode="count")
    model = weighted(lambda numbers, weights: encoding(numbers, count_weights=weights))
    numbers = np.array([[0, 3, 3], [1, 1, 1]], np.int32)
    compare(model, {"numbers": numbers, "weights": rng.standard_normal((2, 3)).astype(np.float32)})
    with pytest.raises(ConversionError, match=r"in layer 'category_encoding\w*': weights are counted below"):
        compare(model, opset=15)


def test_counted_weights_of_what_is_too_large(compare, weighted):
    import tensorflow as tf

    class Count(layers.Layer):
        def call(self, numbers, weights):
            return tf.raw_ops.DenseBincount(input=numbers, size=4, weights=weights)

    numbers, weights = np.array([[7, 0, 4]], np.int32), np.array([[np.inf, 2, 3]], np.float32)
    compare(weighted(Count()), {"numbers": numbers, "weights": weights})


def test_what_lies_outside_is_not_hot(compare, one_layer):
    import tensorflow as tf

    class OneHot(layers.Layer):
        def call(self, x):
            return tf.one_hot(x, 4, on_value=True, off_value=False), tf.one_hot(x, 4, axis=1)

    compare(one_layer(OneHot(), 3, "int32"), np.array([[-1, 0, 3], [4, -5, 2]], np.int32))


def test_text_is_compared_with_a_constant(compare, one_layer):
    import tensorflow as tf

    class Known(layers.Layer):
        def call(self, x):
            return tf.equal(x, "é"), tf.not_equal(tf.constant("a"), x)

    compare(one_layer(Known(), 3, "string"), TEXTS)


def test_several_buckets_for_unknown_text_are_refused(compare, one_layer):
    layer = layers.StringLookup(vocabulary=["a"], num_oov_indices=2, name="words")
    with pytest.raises(ConversionError, match=r"in layer 'words'.*text is hashed.*with num_oov_indices=1"):
        compare(one_layer(layer, 1, "string"))


def test_numbers_as_text_are_refused_where_tensorflow_writes_them_otherwise(compare, one_layer):
    import tensorflow as tf

    class Printed(layers.Layer):
        def call(self, x):
            return tf.strings.as_string(x)

    with pytest.raises(ConversionError, match=r"AsString.*cast to an integer type first"):
        compare(one_layer(Printed(), 1, "float32"))
    compare(one_layer(Printed(), 1, "int32"), np.array([[-3], [12]], np.int32))

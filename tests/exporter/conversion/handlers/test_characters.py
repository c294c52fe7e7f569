import keras
import numpy as np
import pytest

from headgate.exporter.errors import ConversionError

layers = keras.layers
TEXTS = np.array([["Héa  b日本"], [""], ["a\x00c\N{GRINNING FACE}"], ["abc" * 30]], object)


def of(function):
    class Function(layers.Layer):
        def call(self, x):
            return function(x[:, 0])

    return Function(name="text")


@pytest.mark.parametrize(
    "settings",
    [{"output_sequence_length": 6}, {"standardize": None}, {"ngrams": 2}, {"output_mode": "count"}],
    ids=str,
)
def test_text_vectorization(compare, one_layer, settings):
    vectorize = layers.TextVectorization(vocabulary=list("abch日 é"), split="character", **settings)
    compare(one_layer(vectorize, 1, "string"), TEXTS, TEXTS[:1], TEXTS[1:2], TEXTS[:0])


def test_a_table_of_characters(compare, one_layer):
    import tensorflow as tf

    compare(one_layer(of(lambda x: tf.strings.unicode_split(x, "UTF-8").to_tensor()), 1, "string"), TEXTS)


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (lambda strings, x: strings.unicode_decode(x, "UTF-8").to_tensor(), "code points of characters are used"),
        (lambda strings, x: strings.unicode_split(x, "UTF-16-BE").to_tensor(), "text is in UTF-16-BE"),
        (lambda strings, x: strings.unicode_encode(strings.unicode_decode(x, "UTF-8") + 1, "UTF-8"), "are used"),
        (
            lambda strings, x: strings.unicode_encode(strings.unicode_decode(x, "UTF-8"), "UTF-8"),
            "made of several code points",
        ),
    ],
)
def test_other_uses_of_code_points_are_refused(compare, one_layer, function, reason):
    import tensorflow as tf

    with pytest.raises(ConversionError, match=rf"in layer 'text'.*{reason}.*; split into characters by"):
        compare(one_layer(of(lambda x: function(tf.strings, x)), 1, "string"))

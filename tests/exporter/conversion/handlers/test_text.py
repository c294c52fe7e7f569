import re
import string

import keras
import numpy as np
import pytest

from headgate.exporter.errors import ConversionError

layers = keras.layers
WORDS = ["the", "quick", "don't", "dont", "über", "ÜBER", "fox", "日本", "quick fox", "the quick", "the quick fox"]
TEXTS = np.array(
    [
        ["The  Quick,\tfox!"],
        ["Don't ÜBER über"],
        [""],
        [" \x0b\n"],
        ["日本 the\nthe a b THE\x0bfox\u00a0x"],
        ["x" * 99],
    ],
    object,
)
NOTHING = TEXTS[2:4]


def made(**settings):
    words = [word for word in WORDS if " " not in word or settings.get("ngrams")]
    if "idf_weights" in settings:
        settings["idf_weights"] = [0.5 + index for index in range(len(words))]
    return layers.TextVectorization(vocabulary=words, **settings)


@pytest.mark.parametrize(
    "settings",
    [
        {"ngrams": 3},
        {"output_sequence_length": 2, "standardize": "lower"},
        {"output_sequence_length": 9, "standardize": "strip_punctuation"},
        {"output_mode": "multi_hot", "ngrams": (2,)},
        {"output_mode": "count", "pad_to_max_tokens": True, "max_tokens": 20},
        {"output_mode": "tf_idf", "idf_weights": True, "standardize": None},
        {"split": None},
    ],
    ids=str,
)
def test_text_vectorization(compare, one_layer, settings):
    compare(one_layer(made(**settings), 1, "string"), TEXTS, TEXTS[:1], NOTHING, TEXTS[:0])


def test_a_whole_classifier_of_text(compare, rng):
    """Random texts of all that standardizing and splitting look at, through words, indices and an embedding."""
    alphabet = np.array([*string.ascii_letters, *string.punctuation, *" \t\n\r\x0b\x0c", "É", "ß", "日", "\U0001f600"])
    texts = np.array([["".join(rng.choice(alphabet, size))] for size in rng.integers(0, 80, 40)], object)
    x = keras.Input((1,), dtype="string", name="text")
    tokens = layers.TextVectorization(vocabulary=list(string.ascii_lowercase), output_sequence_length=12)(x)
    model = keras.Model(x, [tokens, layers.Embedding(30, 3)(tokens)])
    converted = compare(model, texts, texts[:1])
    versions = {entry.domain: entry.version for entry in converted.opset_import}
    assert (versions[""], converted.ir_version) == (20, 9)


def test_models_without_text_keep_their_operator_set(compare, one_layer, rng):
    converted = compare(one_layer(layers.Rescaling(0.5), 2, "float32"), rng.random((2, 2), np.float32))
    assert {entry.version for entry in converted.opset_import if not entry.domain} == {18}


def test_standardizing_of_ones_own(compare, one_layer):
    import tensorflow as tf

    @keras.saving.register_keras_serializable("headgate-tests")
    def standardize(texts):
        plain = tf.strings.regex_replace(tf.strings.lower(texts), "<br />", " ")
        return tf.strings.regex_replace(plain, f"[{re.escape(string.punctuation)}]", "")

    pages = np.array([["A<br />fox"], ["<br /><br />"], ["the <br / > fox<br />"], [""]], object)
    compare(one_layer(made(standardize=standardize), 1, "string"), pages, TEXTS)


def of(function):
    class Function(layers.Layer):
        def call(self, x):
            return function(x)

    return Function(name="text")


def test_letters_of_other_alphabets_keep_their_case(compare, one_layer):
    import tensorflow as tf

    texts = np.array([["aÉßZ", "ǅ"], ["", "日本 x"]], object)
    compare(one_layer(of(lambda x: [tf.strings.lower(x), tf.strings.upper(x)]), 2, "string"), texts)


@pytest.mark.parametrize("pattern", ["[a-c]", r"[\]\[^-]", "[!-/:-@]", "a.b".replace(".", r"\."), "  "])
def test_patterns(compare, one_layer, pattern):
    import tensorflow as tf

    texts = np.array([["abcd", "]a[^-b"], ["a.b  a.b", "!x/y:@"]], object)
    compare(one_layer(of(lambda x: tf.strings.regex_replace(x, pattern, "<é>")), 2, "string"), texts)


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (lambda tf, x: tf.strings.regex_replace(x, "a+", ""), r"the pattern 'a\+' is too much for ONNX"),
        (lambda tf, x: tf.strings.regex_replace(x, "[^a]", ""), r"the pattern '\[\^a\]' is too much"),
        (lambda tf, x: tf.strings.regex_replace(x, "[[:punct:]]", ""), "is too much"),
        (lambda tf, x: tf.strings.regex_replace(x, r"[\w]", ""), "is too much"),
        (lambda tf, x: tf.strings.regex_replace(x, "a", "", replace_global=False), "replace the first 'a' only"),
        (lambda tf, x: tf.strings.lower(x, encoding="utf-8"), "leave encoding= out"),
        (lambda tf, x: tf.strings.split(x[:, 0], ",").to_tensor(), "split at whitespace"),
    ],
)
def test_refused(compare, one_layer, function, reason):
    import tensorflow as tf

    with pytest.raises(ConversionError, match=rf"in layer 'text'.*{reason}"):
        compare(one_layer(of(lambda x: function(tf, x)), 1, "string"))

"""Layers that turn numbers and text into indices, counts and crosses."""

import keras
import numpy as np
from keras import layers as kl

from headgate.benchmarks.coverage.cases import integers, layer, normal, words

_LETTERS = ["a", "b", "c", "d"]
_TEXT = words([*_LETTERS, "zz", "ä"], 3)
_SENTENCES = words(["The cat sat.", "a dog, a CAT!", "dogs sit", "", "the the  the"], 1)
_CORPUS = np.array(["the cat sat on the mat", "a dog and a cat", "dogs sit and cats sat"])
_EVERY = ("one_hot", "multi_hot", "count")

_NO_HASH = "ONNX has no hash of text"

CASES = [
    layer("Discretization", "boundaries", normal(5), bin_boundaries=[-1.0, 0.0, 1.0]),
    layer(
        "Discretization",
        "adapted",
        normal(1),
        num_bins=4,
        adapt=np.linspace(-2, 2, 100, dtype="float32")[:, np.newaxis],
    ),
    *(
        layer("Discretization", mode, normal(5), bin_boundaries=[-1.0, 0.0, 1.0], output_mode=mode)
        for mode in ("multi_hot", "count")
    ),
    layer("Discretization", "one_hot", normal(1), bin_boundaries=[-1.0, 0.0, 1.0], output_mode="one_hot"),
    layer("CategoryEncoding", "one_hot", integers(4, 1), num_tokens=4, output_mode="one_hot"),
    *(
        layer("CategoryEncoding", mode, integers(4, 3), num_tokens=4, output_mode=mode)
        for mode in ("multi_hot", "count")
    ),
    layer(
        "CategoryEncoding",
        "count weights",
        integers(4, 3),
        normal(3),
        call=lambda instance, x: instance(x[0], count_weights=x[1]),
        num_tokens=4,
        output_mode="count",
    ),
    layer("IntegerLookup", "vocabulary", integers(9, 3, dtype="int64"), vocabulary=[2, 5, 7]),
    layer("IntegerLookup", "int32", integers(9, 3), vocabulary=[2, 5, 7]),
    layer("IntegerLookup", "adapted", integers(9, 3, dtype="int64"), adapt=np.array([2, 5, 5, 7, 7, 7])),
    layer("IntegerLookup", "mask_token", integers(9, 3, dtype="int64"), vocabulary=[2, 5, 7], mask_token=0),
    layer(
        "IntegerLookup", "no oov", integers(3, 3, dtype="int64"), examples=True, vocabulary=[0, 1, 2], num_oov_indices=0
    ),
    layer("IntegerLookup", "several oov", integers(9, 3, dtype="int64"), vocabulary=[2, 5, 7], num_oov_indices=3),
    layer("IntegerLookup", "inverse", integers(4, 3, dtype="int64"), examples=True, vocabulary=[2, 5, 7], invert=True),
    *(
        layer(
            "IntegerLookup",
            mode,
            integers(9, 3 if mode != "one_hot" else 1, dtype="int64"),
            vocabulary=[2, 5, 7],
            output_mode=mode,
        )
        for mode in _EVERY
    ),
    layer(
        "IntegerLookup",
        "tf_idf",
        integers(9, 3, dtype="int64"),
        vocabulary=[2, 5, 7],
        idf_weights=[0.2, 0.3, 0.4],
        output_mode="tf_idf",
    ),
    layer("StringLookup", "vocabulary", _TEXT, vocabulary=_LETTERS),
    layer("StringLookup", "adapted", _TEXT, adapt=np.array(_LETTERS * 2)),
    layer("StringLookup", "mask_token", _TEXT, vocabulary=_LETTERS, mask_token=""),
    layer("StringLookup", "no oov", words(_LETTERS, 3), vocabulary=_LETTERS, num_oov_indices=0),
    layer("StringLookup", "several oov", _TEXT, vocabulary=_LETTERS, num_oov_indices=3, refused=_NO_HASH),
    layer("StringLookup", "inverse", integers(5, 3, dtype="int64"), examples=True, vocabulary=_LETTERS, invert=True),
    *(
        layer(
            "StringLookup",
            mode,
            words([*_LETTERS, "zz"], 3 if mode != "one_hot" else 1),
            vocabulary=_LETTERS,
            output_mode=mode,
        )
        for mode in _EVERY
    ),
    layer("StringLookup", "tf_idf", _TEXT, vocabulary=_LETTERS, idf_weights=[0.2, 0.3, 0.4, 0.5], output_mode="tf_idf"),
    layer(
        "StringLookup",
        "embedded",
        _TEXT,
        make=lambda: keras.Sequential([kl.StringLookup(vocabulary=_LETTERS), kl.Embedding(5, 3)]),
    ),
    layer("Hashing", "integers", integers(100, 3, dtype="int64"), num_bins=5),
    layer("Hashing", "int32", integers(100, 3), num_bins=5),
    layer("Hashing", "text", _TEXT, num_bins=5, refused=_NO_HASH),
    layer("Hashing", "salt", _TEXT, num_bins=5, salt=[1, 2], refused=_NO_HASH),
    layer("Hashing", "mask_value", _TEXT, num_bins=5, mask_value="zz", refused=_NO_HASH),
    layer("Hashing", "one_hot", integers(100, 1, dtype="int64"), num_bins=5, output_mode="one_hot"),
    layer("Hashing", "integers, mask_value", integers(4, 3, dtype="int64"), num_bins=5, mask_value=0),
    layer("Hashing", "integers, salt", integers(100, 3, dtype="int64"), num_bins=5, salt=[1, 2]),
    layer("HashedCrossing", "text", words(_LETTERS, 1), words(_LETTERS, 1), num_bins=5, refused=_NO_HASH),
    layer("HashedCrossing", "integers", integers(9, 1, dtype="int64"), integers(9, 1, dtype="int64"), num_bins=5),
    layer(
        "HashedCrossing",
        "one_hot",
        integers(9, 1, dtype="int64"),
        integers(9, 1, dtype="int64"),
        num_bins=5,
        output_mode="one_hot",
    ),
    layer("TextVectorization", "int", _SENTENCES, adapt=_CORPUS, output_sequence_length=6),
    layer("TextVectorization", "int, variable length", _SENTENCES, adapt=_CORPUS),
    layer("TextVectorization", "no standardize", _SENTENCES, adapt=_CORPUS, standardize=None, output_sequence_length=6),
    layer("TextVectorization", "lower", _SENTENCES, adapt=_CORPUS, standardize="lower", output_sequence_length=6),
    layer("TextVectorization", "characters", _SENTENCES, adapt=_CORPUS, split="character", output_sequence_length=12),
    layer("TextVectorization", "no split", _SENTENCES, adapt=_CORPUS, split=None, standardize=None),
    layer("TextVectorization", "bigrams", _SENTENCES, adapt=_CORPUS, ngrams=2, output_sequence_length=6),
    *(
        layer("TextVectorization", mode, _SENTENCES, adapt=_CORPUS, output_mode=mode)
        for mode in ("multi_hot", "count", "tf_idf")
    ),
]

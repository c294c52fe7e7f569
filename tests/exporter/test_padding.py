"""Paddings: how they are written, and that only those are accepted which change no answer."""

import re

import keras
import numpy as np
import pytest

from headgate.exporter import export_model
from headgate.exporter.errors import PaddingError
from headgate.exporter.padding import read_padding
from headgate.v1 import PaddedInput, PaddedOutput, Padding

layers = keras.layers


def sentiment_model(mask_zero=True, pool=layers.GlobalAveragePooling1D):
    tokens = keras.Input((None,), dtype="int32", name="tokens")
    pooled = pool()(layers.Embedding(50, 8, mask_zero=mask_zero)(tokens))
    return keras.Model(tokens, layers.Dense(1, "sigmoid", name="positive")(pooled), name="sentiment")


def tagger_model():
    """One answer for each element of a sequence, and one for the whole."""
    series = keras.Input((None, 3), name="series")
    masked = layers.Masking()(series)
    tags = layers.Dense(4, name="tags")(layers.LSTM(5, return_sequences=True)(masked))
    return keras.Model(series, [tags, layers.Dense(1, name="level")(layers.GlobalAveragePooling1D()(masked))])


def explicit_mask_model(dtype="bool"):
    tokens = keras.Input((None,), dtype="int32", name="tokens")
    segments = keras.Input((None,), dtype="int32", name="segments")
    attention = keras.Input((None,), dtype=dtype, name="attention")
    embedded = layers.Add()([layers.Embedding(50, 8)(tokens), layers.Embedding(10, 8)(segments)])
    pooled = layers.GlobalAveragePooling1D()(embedded, mask=attention)
    return keras.Model([tokens, segments, attention], layers.Dense(1, name="score")(pooled), name="explicit")


class TestReading:
    @pytest.mark.parametrize(
        ("text", "inputs", "mask"),
        [
            ("tokens:1", [("tokens", 1, 0)], ""),
            ("tokens:1=7", [("tokens", 1, 7)], ""),
            ("image:2=-0.5", [("image", 2, -0.5)], ""),
            (" a.b-c:1=1e3 , mask:2 ", [("a.b-c", 1, 1000), ("mask", 2, 0)], ""),
            ("tokens:1,segments:1=2,mask=attention", [("tokens", 1, 0), ("segments", 1, 2)], "attention"),
            ("mask=m,x:1", [("x", 1, 0)], "m"),
        ],
    )
    def test_read(self, text, inputs, mask):
        axes = [PaddedInput(input=name, axis=axis, fill=fill) for name, axis, fill in inputs]
        assert read_padding(text) == Padding(inputs=axes, mask=mask)

    @pytest.mark.parametrize(
        "text", ["", "tokens", "tokens:", "tokens:-1", "tokens:1=x", "a:1,", "mask=", "a:1,mask=b,mask=c"]
    )
    def test_refused(self, text):
        with pytest.raises(PaddingError, match=re.escape(f"the padding '{text}' is not INPUT:AXIS[=FILL]")):
            read_padding(text)


class TestAccepted:
    def test_mask_that_the_model_makes_itself(self, tmp_path, exported):
        report = export_model(sentiment_model(), tmp_path, paddings=["tokens:1"])
        expected = [Padding(inputs=[PaddedInput(input="tokens", axis=1)])]
        assert list(report.signature.paddings) == list(exported(report.path).signature.paddings) == expected

    def test_outputs_that_are_as_long_are_found(self, tmp_path):
        report = export_model(tagger_model(), tmp_path, heads={"tags": None}, paddings=["series:1"])
        assert [list(padding.outputs) for padding in report.signature.paddings] == [
            [PaddedOutput(output="tags", axis=1)]
        ]

    @pytest.mark.parametrize("dtype", ["bool", "float32", "int32"])
    def test_mask_that_is_an_input(self, dtype, tmp_path):
        report = export_model(explicit_mask_model(dtype), tmp_path, paddings=["tokens:1,segments:1=3,mask=attention"])
        (padding,) = report.signature.paddings
        assert (padding.mask, [padded.fill for padded in padding.inputs]) == ("attention", [0, 3])

    def test_two_sizes(self, tmp_path):
        image = keras.Input((None, None, 1), name="image")
        model = keras.Model(image, layers.GlobalMaxPooling2D(name="peak")(layers.ReLU()(image)))
        report = export_model(
            model,
            tmp_path,
            heads={"peak": None},
            paddings=["image:1", Padding(inputs=[PaddedInput(input="image", axis=2)])],
        )
        assert [[padded.axis for padded in padding.inputs] for padding in report.signature.paddings] == [[1], [2]]

    def test_text(self, tmp_path):
        words = keras.Input((None,), dtype="string", name="words")
        # "" is none of the vocabulary, and unknown words are number 0, which is masked.
        numbers = layers.StringLookup(vocabulary=["a", "b"])(words)
        pooled = layers.GlobalAveragePooling1D()(layers.Embedding(3, 3, mask_zero=True)(numbers))
        model = keras.Model(words, layers.Dense(1, name="y")(pooled), name="words_model")
        examples = np.array([["a", "b", "c"], ["b", "a", "a"]])
        report = export_model(model, tmp_path, examples=examples, paddings=["words:1"])
        assert report.signature.paddings[0].inputs[0].input == "words"


class TestRefused:
    @staticmethod
    def refusal(model, tmp_path, *paddings, **arguments):
        with pytest.raises(PaddingError) as caught:
            export_model(model, tmp_path / "models", paddings=paddings, **arguments)
        assert not (tmp_path / "models").exists()
        assert "\n" not in str(caught.value)
        return str(caught.value)

    def test_model_that_takes_the_fill_for_data(self, tmp_path):
        line = self.refusal(sentiment_model(mask_zero=False), tmp_path, "tokens:1")
        assert re.match(
            r"padding changes output 'positive' when 'tokens' of size \d+ gets \d+ more elements: [\d.]+ instead of "
            r"[\d.]+ in row \d+ at \[0\], allowed is [\d.e-]+ \+ 0\.0001 of the value: the model takes what is filled "
            r"in for data; mask it",
            line,
        )

    def test_fill_that_is_no_masked_value(self, tmp_path):
        assert "padding changes output 'positive'" in self.refusal(sentiment_model(), tmp_path, "tokens:1=3")
        assert "padding changes output 'score'" in self.refusal(
            explicit_mask_model(), tmp_path, "tokens:1,segments:1,attention:1=1"
        )

    def test_examples_are_filled_up_too(self, tmp_path):
        """A model that only the examples show to be wrong: zeros are the largest of numbers below zero."""
        numbers = keras.Input((None, 1), name="numbers")
        model = keras.Model(numbers, layers.GlobalMaxPooling1D(name="largest")(numbers))
        examples = np.full((2, 40, 1), -5, "float32")
        arguments = {"heads": {"largest": None}, "examples": examples}
        assert "gets" in self.refusal(model, tmp_path, "numbers:1", **arguments)
        export_model(model, tmp_path, paddings=["numbers:1=-1e9"], **arguments)

    def test_output_that_cannot_be_cut_back(self, tmp_path):
        series = keras.Input((None, 1), name="series")
        model = keras.Model(series, layers.AveragePooling1D(2, name="halves")(series), name="halving")
        line = self.refusal(model, tmp_path, "series:1", heads={"halves": None})
        assert "padding changes the shape of output 'halves'" in line
        assert "cannot be cut back" in line

    @pytest.mark.parametrize(
        ("padding", "message"),
        [
            ("words:1", "a padding names input 'words', but the model has 'tokens'"),
            ("tokens:2", "a padding names axis 2 of input 'tokens', which has the shape [batch,any]"),
            ("tokens:1=0.5", "input 'tokens' (INT32 [batch,any]) cannot be filled with 0.5"),
            ("tokens:1,mask=other", "a padding names input 'other'"),
            ("tokens", "the padding 'tokens' is not INPUT:AXIS"),
        ],
    )
    def test_what_the_model_does_not_have(self, padding, message, tmp_path):
        assert message in self.refusal(sentiment_model(), tmp_path, padding)

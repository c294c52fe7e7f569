import keras
import numpy as np

from headgate.exporter.proof.random_inputs import RandomInputs, free_sizes
from headgate.v1 import FreeSize, TensorSpec

layers = keras.layers


def test_only_known_values_for_lookups_that_take_no_others(traced):
    colour, number = keras.Input((40,), dtype="string", name="colour"), keras.Input((40,), dtype="int64", name="number")
    known = layers.StringLookup(vocabulary=["red", "green"], num_oov_indices=0)(colour)
    others = layers.IntegerLookup(vocabulary=[1000, 2000])(number)
    model = keras.Model([colour, number], layers.Add()([known, others]))
    inputs = RandomInputs(traced(model)).draw(3, [])
    assert set(inputs["colour"].ravel()) == {"red", "green"}
    assert {1000, 2000} < set(inputs["number"].ravel().tolist())


def test_pixels_where_pixels_are_rescaled(traced):
    image = keras.Input((8, 8, 3), name="image")
    model = keras.Model(image, layers.Conv2D(1, 3)(layers.Rescaling(1 / 255)(image)))
    pixels = RandomInputs(traced(model)).draw(3, [])["image"]
    assert pixels.dtype == np.float32
    assert (pixels.min() >= 0, 200 < pixels.max() <= 255) == (True, True)


def test_steps_that_a_masking_layer_hides(traced):
    x = keras.Input((None, 3), name="x")
    model = keras.Model(x, layers.LSTM(2)(layers.Masking(-1.0)(x)))
    steps = RandomInputs(traced(model)).draw(17, [FreeSize(input="x", axis=1, size=8)])["x"]
    hidden = (steps == -1).all(axis=2)
    assert 0.1 < hidden.mean() < 0.5
    assert ((steps == -1).any(axis=2) == hidden).all()


def test_free_sizes_come_in_every_kind():
    specs = [TensorSpec(name="image", shape=[-1, -1, -1, 3]), TensorSpec(name="mask", shape=[-1, -1])]
    tried = [[free.size for free in sizes] for sizes in free_sizes(specs)]
    assert len({*map(tuple, tried)}) == len(tried)
    # Each of its own, each axis of its own, all the same; and so in multiples.
    assert [len(set(sizes)) for sizes in tried[:3]] == [3, 2, 1]
    assert all(size % 128 == 0 for size in tried[-1])
    assert list(free_sizes([TensorSpec(name="x", shape=[-1, 4])])) == [[]]

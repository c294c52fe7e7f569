import keras
import numpy as np
import pytest

from headgate.exporter.errors import ConversionError

layers = keras.layers
POWERS = 10 ** np.arange(19, dtype=np.int64)
#: Integers of any length in digits, and where lengths change.
CODES = np.concatenate([POWERS, -POWERS, POWERS - 1, 1 - POWERS, [-(2**63), 2**63 - 1, 12345678901234567, -42]])[
    :, None
]


@pytest.mark.parametrize("settings", [{}, {"salt": [3, 2**60]}, {"salt": 133, "mask_value": 0}])
def test_as_tensorflow_hashes(compare, one_layer, rng, settings):
    random = rng.integers(-(2**63), 2**63 - 1, (40, 1), endpoint=True)
    layer = layers.Hashing(2**31 - 1, **settings)
    compare(one_layer(layer, 1, "int64"), CODES, random >> rng.integers(0, 64, random.shape))


@pytest.mark.parametrize("mode", ["one_hot", "multi_hot", "count"])
def test_encodings(compare, one_layer, mode):
    codes = CODES.astype(np.int32)[:60].reshape(-1, 3)
    compare(one_layer(layers.Hashing(5, output_mode=mode), 3, "int32"), codes)


def test_real_numbers_are_cut(compare, one_layer):
    compare(one_layer(layers.Hashing(1000), 2, "float32"), np.array([[1.9, -2.9], [3e5, 0.0]], np.float32))


def test_crosses_of_integers(compare):
    a, b = keras.Input((1,), dtype="int64", name="a"), keras.Input((1,), dtype="int32", name="b")
    city = keras.Input((1,), dtype="string", name="city")
    index = layers.StringLookup(vocabulary=["Bonn", "Ulm"])(city)
    crossed = [layers.HashedCrossing(2**31 - 1)((a, b)), layers.HashedCrossing(7, output_mode="one_hot")((index, a))]
    batch = {"a": CODES, "b": CODES[::-1].astype(np.int32), "city": np.resize(["Ulm", "", "Bonn"], CODES.shape)}
    compare(keras.Model([a, b, city], crossed), batch | {"city": batch["city"].astype(object)})


def test_text_is_refused(compare, one_layer):
    with pytest.raises(ConversionError, match=r"in layer 'hash'.*hash text before the model and feed integers"):
        compare(one_layer(layers.Hashing(3, name="hash"), 1, "string"))
    with pytest.raises(ConversionError, match=r"in layer 'hash'.*operator set 18"):
        compare(one_layer(layers.Hashing(3, name="hash"), 1, "int64"), opset=17)

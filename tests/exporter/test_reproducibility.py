import subprocess
import sys

import keras
import pytest
from keras import layers

from headgate.exporter import ExportError, export_model

_EXPORT = """
import sys
from headgate.exporter import export_model

repository, *files = sys.argv[1:]
for file in files:
    export_model(file, repository)
"""


@pytest.fixture
def keras_files(tmp_path):
    """Models whose graphs tf2onnx rearranges a lot, that hold tables, or whose tolerance is measured."""
    image, words = keras.Input((16, 16, 3), name="image"), keras.Input((None,), name="words", dtype="int32")
    branches = [layers.Conv2D(4, size, padding="same", activation="gelu")(image) for size in (1, 3, 5)]
    seen = layers.GlobalAveragePooling2D()(layers.BatchNormalization()(layers.Concatenate()(branches)))
    read = layers.GRU(5)(layers.Embedding(20, 6, mask_zero=True)(words))
    attended = layers.GlobalMaxPooling1D()(layers.MultiHeadAttention(2, 4)(*[layers.Embedding(20, 8)(words)] * 2))
    joined = layers.Concatenate()([seen, read, attended])
    colour = keras.Input((1,), name="colour", dtype="string")
    looked_up = layers.StringLookup(vocabulary=[f"colour {number}" for number in range(20)])(colour)
    hardly_varying = [layers.Dense(8, kernel_initializer="normal", bias_initializer="ones") for _ in range(5)]
    models = {
        "branches": keras.Model(
            [image, words], [layers.Dense(1, name="price")(joined), layers.Dense(3, "softmax", name="species")(joined)]
        ),
        "small": keras.Sequential([keras.Input((4,)), layers.Normalization(mean=1.0, variance=2.0), layers.Dense(2)]),
        "colours": keras.Model(colour, layers.Dense(2)(layers.Flatten()(layers.Embedding(22, 3)(looked_up)))),
        "flat": keras.Sequential([keras.Input((4,)), *hardly_varying]),
    }
    for name, model in models.items():
        model.save(tmp_path / f"{name}.keras")
    return [tmp_path / f"{name}.keras" for name in models]


@pytest.mark.slow
def test_the_same_file_gives_the_same_bytes(keras_files, tmp_path):
    """In two processes, in which Python's sets have another order, and of which one exported something else before."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", _EXPORT, tmp_path / seed, *files],
            env={"PYTHONHASHSEED": seed, "SOURCE_DATE_EPOCH": "1700000000"},
        )
        for seed, files in (("1", keras_files), ("2", keras_files[::-1]))
    ]
    assert [process.wait(100) for process in processes] == [0, 0]
    first, second = (
        {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        for folder in (tmp_path / "1", tmp_path / "2")
    )
    assert {f"{file.stem}/1/model.onnx" for file in keras_files} <= set(first)
    assert b"hardly varies" in first["flat/1/model.onnx"]
    assert set(first) == set(second)
    assert [name for name in first if first[name] != second[name]] == []


@pytest.mark.parametrize("time", ["yesterday", "-1", "253402300800", "9" * 30])
def test_a_time_that_is_none(time, tmp_path, dense, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", time)
    with pytest.raises(ExportError, match=f"SOURCE_DATE_EPOCH is '{time}'"):
        export_model(dense(), tmp_path)

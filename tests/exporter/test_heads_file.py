import tomllib

import numpy as np
import pytest

from headgate.exporter.errors import HeadInferenceError
from headgate.exporter.head_settings import message_of
from headgate.exporter.heads_file import heads_text, read_heads
from headgate.v1 import DataType, Head, RegressionHead, SegmentationHead, Signature, TargetScaling, TensorSpec


@pytest.fixture
def read(tmp_path):
    def read(text):
        (tmp_path / "heads.toml").write_text(text, encoding="utf-8")
        return read_heads(tmp_path / "heads.toml")

    return read


def test_one_table_an_output(read):
    settings = read("""
        [species]
        kind = "multiclass"
        labels = ["a", "b"]
        groups = [{ name = "both", members = ["a", "b"] }]

        ["my price"]
        units = "EUR"
        scaling = { mean = 3.5, scale = 2 }

        [features]
        kind = "none"
    """)
    assert settings == {
        "species": {"kind": "multiclass", "labels": ["a", "b"], "groups": [{"name": "both", "members": ["a", "b"]}]},
        "my price": {"units": "EUR", "scaling": {"mean": 3.5, "scale": 2}},
        "features": None,
    }


def test_files_are_found_beside_it(read, tmp_path):
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "labels.txt").write_text("Ä\nb c\n", encoding="utf-8")
    np.savez(tmp_path / "prototypes.npz", labels=np.array(["x", "y"]), vectors=np.eye(2))
    np.save(tmp_path / "boxes.npy", np.ones((3, 4)))
    settings = read("""
        [species]
        labels_file = "more/labels.txt"
        [face]
        kind = "embedding"
        prototypes_file = "prototypes.npz"
        [cars]
        anchors = { boxes_file = "boxes.npy" }
    """)
    assert settings["species"] == {"labels": ["Ä", "b c"]}
    embedding = message_of(Head, {"embedding": {"prototypes": settings["face"]["prototypes"]}}, "").embedding
    assert list(embedding.prototypes.labels) == ["x", "y"]
    assert np.frombuffer(embedding.prototypes.vectors, "<f4").tolist() == [1, 0, 0, 1]
    np.testing.assert_array_equal(settings["cars"]["anchors"]["boxes"], np.ones((3, 4)))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[species", "heads.toml' cannot be read: Expected"),
        ('kind = "binary"', r"heads.toml': 'kind' is no table; write what output it is said of: \[kind\]"),
        ('[y]\nkind = "binry"', r"heads.toml', table \[y\]: kind is 'binry' \(did you mean 'binary'\?\)"),
        ('[y]\nkind = ["binary"]', r"table \[y\]: kind is '\['binary'\]' .*give one of"),
        ("[y]\nlables = []", r"heads.toml', table \[y\]: no head has a field 'lables' \(did you mean 'labels'"),
        ('[y]\nkind = "binary"\nlevels = [0.5]', r"table \[y\]: a binary head has no field 'levels' .*quantile"),
        ('[y]\nlabels_file = "none.txt"', r"table \[y\]: labels_file cannot be read: .*none.txt"),
        ('[y]\nlabels = []\nlabels_file = "a"', r"table \[y\]: there are both labels and labels_file; give one"),
        ('[y]\nprototypes_file = "heads.toml.npz"', "prototypes_file cannot be read"),
        ('[y]\nprototypes_file = "empty.npz"', "prototypes_file cannot be read: No data left"),
        ('[y]\nprototypes_file = "damaged.npz"', "prototypes_file cannot be read: Error -3 while decompressing"),
        ('[y]\nlabels_file = "empty.npz.txt"', "labels_file: .*empty.npz.txt' is empty; write one entry a line"),
        ('[y]\nlabels_file = "latin.txt"', "labels_file cannot be read: 'utf-8' codec"),
        (f"y = {'[' * 9999}", "heads.toml' cannot be read: maximum recursion depth"),
    ],
)
def test_what_is_wrong_is_found_by_file_and_table(read, tmp_path, text, problem):
    for name, content in (("empty.npz", b""), ("empty.npz.txt", b""), ("latin.txt", b"\xe4")):
        (tmp_path / name).write_bytes(content)
    np.savez_compressed(tmp_path / "damaged.npz", vectors=np.arange(999))
    saved = (tmp_path / "damaged.npz").read_bytes()
    (tmp_path / "damaged.npz").write_bytes(saved[:60] + b"\xff" * 40 + saved[100:])
    with pytest.raises(HeadInferenceError, match=problem):
        read(text)


def test_what_editors_put_before_the_first_character_is_no_part_of_a_name(read, tmp_path):
    (tmp_path / "labels.txt").write_bytes("\ufeffa\r\nb\r\n".encode())
    assert read('\ufeff[y]\nlabels_file = "labels.txt"') == {"y": {"labels": ["a", "b"]}}


def test_what_numpy_finds_in_a_file_does_not_depend_on_its_name(read, tmp_path):
    np.savez(tmp_path / "saved.npz", labels=["x"], vectors=np.eye(1))
    (tmp_path / "saved.npz").rename(tmp_path / "prototypes.npy")
    np.save(tmp_path / "saved.npy", np.eye(2))
    (tmp_path / "saved.npy").rename(tmp_path / "boxes.npz")
    settings = read('[y]\nprototypes_file = "prototypes.npy"\nanchors = { boxes_file = "boxes.npz" }')
    assert settings["y"]["prototypes"].keys() == {"labels", "vectors"}
    np.testing.assert_array_equal(settings["y"]["anchors"]["boxes"], np.eye(2))


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(HeadInferenceError, match=r"heads.toml' cannot be read: .*No such file"):
        read_heads(tmp_path / "heads.toml")


def test_what_is_written_is_read_again(read):
    fp32 = DataType.DATA_TYPE_FP32
    heads = [
        Head(
            name="price",
            output="price",
            activation="ACTIVATION_LINEAR",
            regression=RegressionHead(units=['€\x7f\n"\\'], scaling=TargetScaling(mean=[1.5, 1e-300], log1p=True)),
        ),
        Head(
            name="mask",
            output="mask",
            activation="ACTIVATION_LOGITS",
            segmentation=SegmentationHead(labels=["road", "sky"], layout="PIXEL_LAYOUT_CHANNELS_FIRST", stride=4),
        ),
    ]
    outputs = [
        TensorSpec(name="price", datatype=fp32, shape=[-1, 2]),
        TensorSpec(name="mask", datatype=fp32, shape=[-1, 2, 8, 8]),
        TensorSpec(name="hard.to tell", datatype=fp32, shape=[-1, 5, 7]),
        TensorSpec(name="raw", datatype=fp32, shape=[-1, 2, 2, 2, 2]),
    ]
    text = heads_text("m", Signature(outputs=outputs, heads=heads), {"hard.to tell": "it has 2 axes; say it"})
    assert '# it has 2 axes\nkind = "?"  # one of sequence_tags, ctc, detection' in text
    assert "# It can also have: targets, confidence_level, name, description." in text
    assert "# It can also have: independent, thresholds, name, description." in text
    written = tomllib.loads(text)
    for head in heads:
        kind = head.WhichOneof("kind")
        assert written[head.output].pop("kind") == kind
        activation = written[head.output].pop("activation")
        assert message_of(Head, {"activation": activation, kind: written[head.output]}, "") == Head(
            activation=head.activation, **{kind: getattr(head, kind)}
        )
    assert written["raw"] == {"kind": "none"}
    with pytest.raises(HeadInferenceError, match=r"table \[hard.to tell\]: kind is '\?'"):
        read(text)

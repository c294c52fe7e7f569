import pytest
from google.protobuf import text_format

from headgate.exporter import export_model
from headgate.exporter.errors import RepositoryError
from headgate.exporter.triton import MAX_BATCH_SIZE, check_triton_config, triton_files, write_triton_config
from headgate.server.config import BatchingConfig
from headgate.v1 import BinaryHead, DataType, Head, MulticlassHead, RegressionHead, Signature, TensorSpec


@pytest.fixture
def signature():
    fp32, text = DataType.DATA_TYPE_FP32, DataType.DATA_TYPE_STRING
    return Signature(
        inputs=[
            TensorSpec(name="image", datatype=fp32, shape=[-1, -1, -1, 3]),
            TensorSpec(name="words", datatype=text, shape=[-1]),
        ],
        outputs=[
            TensorSpec(name="species", datatype=fp32, shape=[-1, 3]),
            TensorSpec(name="ill", datatype=fp32, shape=[-1, 1]),
            TensorSpec(name="price", datatype=fp32, shape=[-1]),
            TensorSpec(name="found", datatype=DataType.DATA_TYPE_BOOL, shape=[-1, 2]),
        ],
        heads=[
            Head(name="flower", output="species", multiclass=MulticlassHead(labels=["setosa", "ver\nsicolor", "ä"])),
            Head(name="ill", output="ill", binary=BinaryHead(labels=["no", "yes"])),
            Head(name="price", output="price", regression=RegressionHead()),
        ],
    )


def test_the_configuration_is_what_triton_reads(signature):
    config = pytest.importorskip("tritonclient.grpc.model_config_pb2")
    files = triton_files("flowers", signature)
    read = text_format.Parse(files.pop("config.pbtxt"), config.ModelConfig())
    assert (read.name, read.platform, read.max_batch_size) == ("flowers", "onnxruntime_onnx", 64)
    assert read.HasField("dynamic_batching")
    assert [(tensor.name, list(tensor.dims), tensor.data_type) for tensor in read.input] == [
        ("image", [-1, -1, 3], config.TYPE_FP32),
        ("words", [1], config.TYPE_STRING),
    ]
    assert [(tensor.name, list(tensor.dims), tensor.data_type) for tensor in read.output] == [
        ("species", [3], config.TYPE_FP32),
        ("ill", [1], config.TYPE_FP32),
        ("price", [1], config.TYPE_FP32),
        ("found", [2], config.TYPE_BOOL),
    ]
    assert [tensor.HasField("reshape") for tensor in (*read.input, *read.output)] == [0, 1, 0, 0, 1, 0]
    assert list(read.input[1].reshape.shape) == []
    assert [tensor.label_filename for tensor in read.output] == ["species_labels.txt", "", "", ""]
    assert files == {"species_labels.txt": "setosa\nver sicolor\nä\n"}


def test_labels_of_steps_pixels_and_boxes_are_none_of_an_output(signature):
    signature.outputs[0].shape[:] = [-1, 7, 3]
    for kind in ("sequence_tags", "detection", "segmentation"):
        head = Head(name="flower", output="species", **{kind: {"labels": ["a", "b", "c"]}})
        signature.heads[0].CopyFrom(head)
        assert list(triton_files("flowers", signature)) == ["config.pbtxt"]


def test_every_type_has_a_name_in_triton(signature):
    config = pytest.importorskip("tritonclient.grpc.model_config_pb2")
    for datatype in DataType.values()[1:]:
        signature.inputs[0].datatype = datatype
        read = text_format.Parse(triton_files("flowers", signature)["config.pbtxt"], config.ModelConfig())
        assert config.DataType.Name(read.input[0].data_type)[5:] == DataType.Name(datatype)[len("DATA_TYPE_") :]


def test_batches_are_as_large_as_our_own():
    assert BatchingConfig().max_batch_size == MAX_BATCH_SIZE


def test_only_its_own_files_are_replaced(tmp_path, signature):
    check_triton_config(tmp_path / "new")
    write_triton_config(tmp_path, signature)
    check_triton_config(tmp_path)
    signature.outputs[0].name = signature.heads[0].output = "kind"
    write_triton_config(tmp_path, signature)
    assert 'name: "kind"' in (tmp_path / "config.pbtxt").read_text()
    (tmp_path / "config.pbtxt").write_text('name: "by hand"')
    with pytest.raises(RepositoryError, match=r"config.pbtxt' was not written by headgate"):
        check_triton_config(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "config.pbtxt",
        "kind_labels.txt",
        "species_labels.txt",
    ]


def test_a_disk_that_refuses(tmp_path, signature):
    (tmp_path / "species_labels.txt").mkdir()
    with pytest.raises(RepositoryError, match=r"cannot write '.*species_labels.txt'"):
        write_triton_config(tmp_path, signature)
    assert [path.name for path in tmp_path.iterdir()] == ["species_labels.txt"]


def test_a_version_whose_configuration_cannot_be_written(tmp_path, dense):
    (tmp_path / "model" / "out_labels.txt").mkdir(parents=True)
    with pytest.raises(RepositoryError, match=r"cannot write '.*out_labels.txt'.*; version 1 itself is written"):
        export_model(dense(3, "softmax"), tmp_path, triton_config=True)
    assert (tmp_path / "model" / "1" / "model.onnx").exists()

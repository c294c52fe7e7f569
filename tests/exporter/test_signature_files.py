import copy
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import keras
import numpy as np
import onnx
import pytest

from headgate.decoders import DecodeOptions
from headgate.exporter import export_model, signature_files
from headgate.exporter.errors import RepositoryError
from headgate.exporter.model_files import DATA_FILE, read_metadata
from headgate.exporter.signature_files import is_version, write_in_place, write_new_version
from headgate.server.config import ModelConfig
from headgate.server.model import LoadedModel
from headgate.v1.golden import GOLDEN_FILE
from headgate.v1.signatures import METADATA_KEY, signature_from_json, signature_to_json


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    layers = [keras.Input((4,), name="x"), keras.layers.Dense(1, "sigmoid", name="ill")]
    folder = tmp_path_factory.mktemp("models")
    return export_model(keras.Sequential(layers, name="heart"), folder, labels=["no", "yes"], threshold=0.5).path


@pytest.fixture
def path(exported, tmp_path):
    shutil.copytree(exported.parents[1], tmp_path / "heart")
    return tmp_path / "heart" / "1" / "model.onnx"


@pytest.fixture
def stricter(path):
    """The signature with another threshold, by which a golden row is decided otherwise."""
    from headgate.v1.golden import golden_from_bytes
    from headgate.v1.tensors import numpy_from_tensor

    golden = golden_from_bytes(path.with_name(GOLDEN_FILE).read_bytes())
    signature = current(path)
    probabilities = numpy_from_tensor(golden.outputs[0])
    signature.heads[0].binary.threshold = 0.99 if probabilities.max() >= 0.5 else 0.01
    return signature


def current(path):
    return signature_from_json(read_metadata(path, METADATA_KEY))


def load(path):
    """Load a model as servers do, which compare its golden examples."""
    model = LoadedModel("heart", 1, path, ModelConfig(), "CPUExecutionProvider")
    try:
        return model
    finally:
        model.close()


def threshold_of(path):
    decoder = load(path).decoders["ill"]
    return decoder.decode({decoder_output(decoder): np.float32([[0.4]])}, DecodeOptions()).threshold


def decoder_output(decoder):
    return next(iter(decoder.reads))


def test_the_golden_examples_of_the_old_threshold_would_be_refused(path, stricter):
    from headgate.exporter.model_files import copy_with_metadata
    from headgate.server.errors import StartupError

    old = path.rename(path.with_name("old.onnx"))
    copy_with_metadata(old, path, METADATA_KEY, signature_to_json(stricter))
    with pytest.raises(StartupError, match="decides otherwise than at export"):
        load(path)


def test_a_new_version_is_served_and_the_old_one_stays(path, stricter):
    before = {file.name: file.read_bytes() for file in path.parent.iterdir()}
    weights = path.with_name(DATA_FILE)
    weights.write_bytes(b"weights")
    written = write_new_version(path, stricter)
    assert written == path.parents[1] / "2" / "model.onnx"
    assert threshold_of(written) == stricter.heads[0].binary.threshold
    assert threshold_of(path) == 0.5
    assert written.with_name(DATA_FILE).samefile(weights)
    assert {name: (path.parent / name).read_bytes() for name in before} == before
    assert sorted(file.name for file in path.parents[1].iterdir()) == ["1", "2"]


def test_in_place(path, stricter):
    graph = onnx.load(path).graph
    path.chmod(0o640)
    write_in_place(path, current(path), stricter)
    assert threshold_of(path) == stricter.heads[0].binary.threshold
    assert onnx.load(path).graph == graph
    assert path.stat().st_mode & 0o777 == 0o640
    assert sorted(file.name for file in path.parent.iterdir()) == [GOLDEN_FILE, "model.onnx"]
    # And back again, to the same bytes.
    before = path.read_bytes()
    stricter.heads[0].binary.threshold = 0.5
    write_in_place(path, current(path), stricter)
    assert path.read_bytes() != before
    assert threshold_of(path) == 0.5


@pytest.mark.parametrize("survived", range(5))
def test_a_crash_leaves_a_model_that_loads(path, stricter, monkeypatch, survived):
    """Whichever of the disk's flushes was the last."""

    class Crash(BaseException):
        pass

    flushes = []
    flush = signature_files.flush

    def crash(what):
        if len(flushes) == survived:
            raise Crash
        flushes.append(what)
        flush(what)

    monkeypatch.setattr(signature_files, "flush", crash)
    with pytest.raises(Crash):
        write_in_place(path, current(path), stricter)
    assert threshold_of(path) in (0.5, stricter.heads[0].binary.threshold)


def test_a_model_without_golden_examples(path, stricter):
    path.with_name(GOLDEN_FILE).unlink()
    write_in_place(path, current(path), stricter)
    assert threshold_of(path) == stricter.heads[0].binary.threshold


def test_golden_examples_of_another_export(path, stricter):
    golden = path.with_name(GOLDEN_FILE)
    golden.write_bytes(golden.read_bytes() + b"\x00")
    before = path.read_bytes()
    for write in (partial(write_in_place, path, current(path)), partial(write_new_version, path)):
        with pytest.raises(RepositoryError, match=r"golden\.binpb: it is damaged"):
            write(stricter)
    assert path.read_bytes() == before
    assert sorted(file.name for file in path.parents[1].iterdir()) == ["1"]


def test_what_is_a_version(path, tmp_path):
    assert is_version(path)
    assert not is_version(tmp_path / "model.onnx")
    assert not is_version(path.with_name("other.onnx"))


def test_a_version_that_a_link_calls(path, tmp_path, monkeypatch):
    latest, blob = path.parents[1] / "latest", path.rename(tmp_path / "blob")
    path.symlink_to(blob)
    latest.symlink_to("1", target_is_directory=True)
    monkeypatch.chdir(path.parent)
    for named in (path, latest / "model.onnx", path.parent / ".." / "1" / "model.onnx", path.relative_to(path.parent)):
        assert is_version(named)


def test_a_link_is_replaced_and_not_what_it_stands_for(path, stricter, tmp_path):
    blob = path.rename(tmp_path / "blob")
    before = blob.read_bytes()
    path.symlink_to(blob)
    write_in_place(path, current(path), stricter)
    assert threshold_of(path) == stricter.heads[0].binary.threshold
    assert blob.read_bytes() == before


def test_what_a_crash_has_left_is_in_no_new_version(path, stricter):
    path.with_name(".model.onnx.abc").write_bytes(b"half")
    written = write_new_version(path, stricter)
    assert sorted(file.name for file in written.parent.iterdir()) == [GOLDEN_FILE, "model.onnx"]


def test_what_was_changed_meanwhile_is_not_lost(path, stricter):
    before = current(path)
    write_in_place(path, before, stricter)
    again = current(path)
    again.heads[0].binary.threshold = 0.7
    with pytest.raises(RepositoryError, match="was changed by someone else meanwhile; try again"):
        write_in_place(path, before, again)
    assert threshold_of(path) == stricter.heads[0].binary.threshold


def test_of_several_at_once_one_wins(path):
    def write(threshold):
        before = current(path)
        # Not read again: another one may have come between.
        signature = copy.deepcopy(before)
        signature.heads[0].binary.threshold = threshold
        write_in_place(path, before, signature)
        return threshold

    with ThreadPoolExecutor(8) as pool:
        attempts = [pool.submit(write, threshold) for threshold in np.linspace(0.1, 0.4, 16).tolist()]
    refusals = [attempt.exception() for attempt in attempts if attempt.exception()]
    assert all("was changed by someone else" in str(refusal) for refusal in refusals)
    assert threshold_of(path) in [attempt.result() for attempt in attempts if not attempt.exception()]
    assert sorted(os.listdir(path.parent)) == [GOLDEN_FILE, "model.onnx"]


def test_golden_examples_of_another_model(path, stricter):
    from headgate.v1.golden import golden_from_bytes

    golden = golden_from_bytes(path.with_name(GOLDEN_FILE).read_bytes())
    golden.outputs[0].name = "other"
    path.with_name(GOLDEN_FILE).write_bytes(golden.SerializeToString())
    stricter.verification.golden_examples_sha256 = ""
    with pytest.raises(RepositoryError, match=r"golden\.binpb: .*; export the model again"):
        write_new_version(path, stricter)


def test_no_version_no_new_one(path, stricter, tmp_path):
    other = shutil.copy(path, tmp_path / "model.onnx")
    with pytest.raises(RepositoryError, match="is no version in a repository"):
        write_new_version(other, stricter)

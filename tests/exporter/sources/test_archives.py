import io
import json
import os
import stat
import struct
import zipfile
import zlib

import h5py
import keras
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headgate.exporter.errors import ModelLoadError
from headgate.exporter.sources import archives, hdf5_files
from headgate.exporter.sources.keras_models import load_source


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """The bytes of one small model, by suffix."""
    folder = tmp_path_factory.mktemp("saved")
    model = keras.Sequential([keras.Input((4,), name="x"), keras.layers.Dense(3, name="y")], name="small")
    for suffix in (".keras", ".h5"):
        model.save(folder / f"small{suffix}")
    return {suffix: (folder / f"small{suffix}").read_bytes() for suffix in (".keras", ".h5")}


@pytest.fixture
def rebuilt(saved, tmp_path):
    """Write the `.keras` file anew with members changed or added; None leaves one out."""

    def write(changes=(), name="small.keras", compression=zipfile.ZIP_STORED):
        with zipfile.ZipFile(io.BytesIO(saved[".keras"])) as archive:
            members = {info.filename: archive.read(info) for info in archive.infolist()} | dict(changes)
        with zipfile.ZipFile(tmp_path / name, "w", compression) as archive:
            for member, content in members.items():
                if content is not None:
                    archive.writestr(member, content)
        return tmp_path / name

    return write


@pytest.fixture
def secret(tmp_path):
    path = tmp_path / "secret.bin"
    path.write_bytes(np.arange(12, dtype="float32").tobytes())
    return path


def refused(path, message):
    with pytest.raises(ModelLoadError, match=message) as caught:
        load_source(path, safe_mode=False)
    assert path.name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_sound_files_pass(rebuilt, saved):
    for compression in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        members = archives.read_archive(rebuilt(compression=compression))
        assert json.loads(members["config.json"])["class_name"] == "Sequential"
        assert "keras_version" in json.loads(members["metadata.json"])
    assert json.loads(archives.read_hdf5(saved[".h5"], len(saved[".h5"]))["model_config"])["class_name"] == "Sequential"


@pytest.mark.parametrize("name", ["../evil", "a/../../evil", "/etc/evil", "..\\evil", "C:\\evil", "evil\0.txt"])
def test_names_that_lead_out(name, rebuilt):
    path = rebuilt()
    # Python's zipfile would clean the name, attackers do not.
    placeholder = "q" * len(name)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(placeholder, b"x")
    path.write_bytes(path.read_bytes().replace(placeholder.encode(), name.encode()))
    refused(path, "which leads out of the archive")


def test_links_in_archives(rebuilt):
    path = rebuilt()
    link = zipfile.ZipInfo("assets/vocabulary.txt")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(link, "/etc/passwd")
    refused(path, r"has a member 'assets/vocabulary\.txt' that is a link")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_members_that_come_twice(rebuilt):
    path = rebuilt()
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("config.json", "{}")
    refused(path, r"has more than one member 'config\.json'")


@pytest.mark.parametrize("member", ["config.json", "model.weights.h5", "assets/words.txt"])
def test_zip_bombs(member, rebuilt, monkeypatch):
    monkeypatch.setattr(archives, "_HARMLESS_BYTES", 2**20)
    path = rebuilt({member: bytes(2**24)}, compression=zipfile.ZIP_DEFLATED)
    refused(path, "expands to more than 1 MiB and 100 times its size")


def test_sizes_that_lie(rebuilt):
    path = rebuilt({"config.json": b" " * 1_234_567}, compression=zipfile.ZIP_DEFLATED)
    content = path.read_bytes()
    assert struct.pack("<I", 1_234_567) in content
    path.write_bytes(content.replace(struct.pack("<I", 1_234_567), struct.pack("<I", 10)))
    refused(path, "is a damaged zip archive: Bad CRC-32")


def test_members_that_are_missing(rebuilt):
    refused(rebuilt({"config.json": None}), r"has no member 'config\.json', so it is no Keras model")
    refused(rebuilt({"model.weights.h5": None}), r"has no member 'model\.weights\.h5'")


def test_configurations_that_are_nothing(rebuilt):
    refused(rebuilt({"config.json": b"[1]"}), "has a configuration that is no JSON object")
    refused(rebuilt({"config.json": b"[" * 10**6}), "has a configuration of more than 200 levels")


def test_encrypted_members(rebuilt):
    path = rebuilt()
    content = bytearray(path.read_bytes())
    for magic, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        content[content.index(magic) + offset] |= 1
    path.write_bytes(content)
    refused(path, "is a damaged zip archive: .*encrypted")


def _external_dataset(file, name, shape, secret):
    file.create_dataset(name, shape, "float32", external=[(os.fspath(secret), 0, h5py.h5f.UNLIMITED)])


def _virtual_dataset(file, name, shape, secret):
    layout = h5py.VirtualLayout(shape, "float32")
    layout[:] = h5py.VirtualSource(os.fspath(secret), "data", shape)
    file.create_virtual_dataset(name, layout)


def _external_link(file, name, shape, secret):
    file[name] = h5py.ExternalLink(os.fspath(secret), "/data")


def _soft_link(file, name, shape, secret):
    file[name] = h5py.SoftLink("/elsewhere")


def _bomb(file, name, shape, secret):
    file.create_dataset(name, (2**20, 2**20), "float32", chunks=(2**10, 2**10))


@pytest.mark.parametrize(
    ("trick", "message"),
    [
        # CVE-2026-1669
        (_external_dataset, "has weights '.*' that lie in other files"),
        (_virtual_dataset, "has weights '.*' that lie in other files"),
        (_external_link, "has a member '.*' that is a link"),
        (_soft_link, "has a member '.*' that is a link"),
        # CVE-2026-0897
        (_bomb, "is too small for the more than 256 MiB of weights that it declares"),
    ],
)
@pytest.mark.parametrize("suffix", [".keras", ".h5", ""])
def test_weights_that_are_elsewhere(suffix, trick, message, saved, rebuilt, secret, tmp_path):
    with zipfile.ZipFile(io.BytesIO(saved[".keras"])) as archive:
        content = saved[".h5"] if suffix == ".h5" else archive.read("model.weights.h5")
    path = tmp_path / "weights.h5"
    path.write_bytes(content)
    with h5py.File(path, "r+") as file:
        # The kernel of the Dense layer is the only matrix.
        name = file.visititems(lambda name, item: name if getattr(item, "shape", ()) == (4, 3) else None)
        shape = file[name].shape
        del file[name]
        trick(file, name, shape, secret)
    if suffix == ".h5":
        refused(path, message)
    elif suffix == ".keras":
        refused(rebuilt({"model.weights.h5": path.read_bytes()}), message)
    else:
        folder = tmp_path / "folder"
        with zipfile.ZipFile(io.BytesIO(saved[".keras"])) as archive:
            archive.extractall(folder)
        path.rename(folder / "model.weights.h5")
        refused(folder, message)


def test_hdf5_groups_that_contain_themselves(tmp_path):
    path = tmp_path / "ring.h5"
    with h5py.File(path, "w") as file:
        file.create_group("a")["b"] = file["/"]
    assert archives.read_hdf5(path, path.stat().st_size) == {}


def test_links_that_lead_out_of_a_folder(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "words.txt").write_text("secret")
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "words.txt").write_text("a")
    (folder / "same.txt").symlink_to("words.txt")
    archives.check_folder(folder)
    (folder / "assets").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ModelLoadError, match="has a link 'assets' that leads out of it"):
        archives.check_folder(folder)


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_archives_give_one_clear_line(data, saved, tmp_path):
    loads_or_says_why(tmp_path / "damaged.keras", damage(saved[".keras"], data))


# Each of them costs a process.
@settings(max_examples=4, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_hdf5_files_give_one_clear_line(data, saved, tmp_path):
    loads_or_says_why(tmp_path / "damaged.h5", damage(saved[".h5"], data))


def damage(content, data):
    content = bytearray(content)
    if data.draw(st.booleans(), "cut"):
        del content[data.draw(st.integers(0, len(content) - 1), "size") :]
    else:
        for _ in range(data.draw(st.integers(1, 8), "flips")):
            content[data.draw(st.integers(0, len(content) - 1), "place")] = data.draw(st.integers(0, 255), "byte")
    return content


def loads_or_says_why(path, content):
    path.write_bytes(content)
    message = f"'{path}' "
    try:
        load_source(path, safe_mode=True)
    except ModelLoadError as error:
        message = str(error)
    assert message.startswith(f"'{path}' ")
    assert "\n" not in message


def test_files_that_crash_libhdf5(saved, tmp_path, monkeypatch):
    path = tmp_path / "crash.h5"
    path.write_bytes(saved[".h5"])
    script = tmp_path / "script.py"
    script.write_text("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    monkeypatch.setattr(hdf5_files, "__file__", str(script))
    refused(path, "is a damaged HDF5 file: libhdf5 crashes on it")


def test_archives_that_are_cut_anywhere(saved, tmp_path):
    path = tmp_path / "cut.keras"
    for size in range(0, len(saved[".keras"]), 997):
        path.write_bytes(saved[".keras"][:size])
        refused(path, "is a damaged zip archive")


def test_deflated_rubbish(rebuilt):
    path = rebuilt({"config.json": b"ab" * 1000}, compression=zipfile.ZIP_DEFLATED)
    content = path.read_bytes()
    deflated = zlib.compress(b"ab" * 1000)[2:-4]
    assert deflated[:6] in content
    path.write_bytes(content.replace(deflated[:6], b"\xff" * 6))
    refused(path, "is a damaged zip archive")

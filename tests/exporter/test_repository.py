import os
import signal
import subprocess
import sys
import threading

import pytest

from headgate.exporter.errors import RepositoryError
from headgate.exporter.repository import check_target, delete_version, next_version, publish, staged_version

FILES = {"model.onnx": b"the model", "golden.json": b"{}"}


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def write_version(repository, name, version, files):
    with staged_version(repository, name) as staging:
        for file_name, content in files.items():
            (staging / file_name).write_bytes(content)
        return publish(staging, version)


def test_a_version_is_written_whole(tmp_path):
    folder = write_version(tmp_path / "new" / "models", "m", None, FILES)
    assert folder == tmp_path / "new" / "models" / "m" / "1"
    assert contents(tmp_path / "new" / "models" / "m") == {f"1/{name}": content for name, content in FILES.items()}


def test_the_files_can_be_read_by_whom_the_umask_allows(tmp_path):
    before = os.umask(0o022)
    try:
        folder = write_version(tmp_path, "m", None, FILES)
    finally:
        os.umask(before)
    assert folder.stat().st_mode & 0o777 == 0o755
    assert (folder / "model.onnx").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize(
    ("present", "expected"),
    [((), 1), (("1", "2"), 3), (("7",), 8), (("latest", ".export-1", "-3", "2x", "²"), 1), (("10", "9"), 11)],
)
def test_the_next_version_follows_the_highest(present, expected, tmp_path):
    for name in present:
        (tmp_path / "m" / name).mkdir(parents=True)
    assert next_version(tmp_path, "m") == expected


def test_an_existing_version_stays(tmp_path):
    write_version(tmp_path, "m", 3, FILES)
    for attempt in (lambda: check_target(tmp_path, "m", 3), lambda: write_version(tmp_path, "m", 3, {"a": b"other"})):
        with pytest.raises(RepositoryError, match=r"version 3 of model 'm' exists .*the next free one \(4\)"):
            attempt()
    assert contents(tmp_path / "m") == {f"3/{name}": content for name, content in FILES.items()}


def test_racing_for_the_next_version_every_export_gets_its_own(tmp_path):
    start = threading.Barrier(8)
    written = {}

    def export(number):
        start.wait()
        for round_ in range(5):
            content = f"{number}.{round_}".encode()
            written[write_version(tmp_path, "m", None, {"model.onnx": content})] = content

    threads = [threading.Thread(target=export, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(int(path.name) for path in written) == list(range(1, 41))
    assert all((path / "model.onnx").read_bytes() == content for path, content in written.items())


def test_racing_for_one_version_one_export_wins(tmp_path):
    start = threading.Barrier(8)
    outcomes = []

    def export(number):
        start.wait()
        try:
            write_version(tmp_path, "m", 1, {"model.onnx": b"%d" % number})
            outcomes.append(number)
        except RepositoryError as error:
            outcomes.append(str(error))

    threads = [threading.Thread(target=export, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (winner,) = [outcome for outcome in outcomes if isinstance(outcome, int)]
    assert contents(tmp_path / "m") == {"1/model.onnx": b"%d" % winner}
    assert sum("version 1 of model 'm' exists" in str(outcome) for outcome in outcomes) == 7


def test_a_failure_while_writing_leaves_nothing(tmp_path):
    with pytest.raises(RepositoryError, match=r"cannot write to .*File name too long"):
        write_version(tmp_path, "m", None, {"model.onnx": b"whole", "x" * 300: b"cannot be written"})
    assert list(tmp_path.iterdir()) == []


def test_an_export_that_is_killed_leaves_no_version(tmp_path):
    """The child blocks after the first of two files, and is killed there."""
    code = """
import sys
from pathlib import Path
from headgate.exporter.repository import publish, staged_version
with staged_version(Path(sys.argv[1]), "m") as staging:
    (staging / "model.onnx").write_bytes(b"first")
    print(staging / "model.onnx", flush=True)
    sys.stdin.read()
    (staging / "other").write_bytes(b"second")
    publish(staging, None)
"""
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    written = child.stdout.readline().strip()
    assert os.path.exists(written)
    child.send_signal(signal.SIGKILL)
    child.communicate()
    assert next_version(tmp_path, "m") == 1
    assert [path.name for path in (tmp_path / "m").iterdir() if path.name.isdecimal()] == []
    assert write_version(tmp_path, "m", None, FILES).name == "1"


def test_no_reader_ever_sees_half_a_version(tmp_path):
    big = {"model.onnx": os.urandom(1 << 20), "golden.json": b"{}"}
    done = threading.Event()
    seen = []

    def watch():
        while not done.is_set():
            for folder in tmp_path.glob("m/*"):
                if folder.name.isdecimal():
                    seen.append({path.name: path.stat().st_size for path in folder.iterdir()})

    watcher = threading.Thread(target=watch)
    watcher.start()
    for _ in range(10):
        write_version(tmp_path, "m", None, big)
    done.set()
    watcher.join()
    expected = {name: len(content) for name, content in big.items()}
    assert all(sizes == expected for sizes in seen)


@pytest.mark.parametrize("name", ["", ".", "..", "a b", "a/b", "ü", "a\n", "x\0"])
def test_names_that_are_no_names(name, tmp_path):
    with pytest.raises(RepositoryError, match="is no name for a model; use letters"):
        check_target(tmp_path, name, None)


@pytest.mark.parametrize("version", [0, -1, True, 1.0, "1"])
def test_versions_that_are_no_versions(version, tmp_path):
    with pytest.raises(RepositoryError, match="give a positive integer"):
        check_target(tmp_path, "m", version)


def test_a_file_is_no_repository(tmp_path):
    (tmp_path / "models").write_text("")
    with pytest.raises(RepositoryError, match=r"models' is a file; a model repository is a folder"):
        check_target(tmp_path / "models", "m", None)
    with pytest.raises(RepositoryError, match=r"models' is a file"):
        check_target(tmp_path, "models", None)


def test_ctrl_c_leaves_nothing(tmp_path):
    def write_and_press(staging):
        (staging / "model.onnx").write_bytes(b"the model")
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt), staged_version(tmp_path / "new" / "models", "m") as staging:
        write_and_press(staging)
    assert not list(tmp_path.iterdir())


def test_a_version_is_deleted_whole(tmp_path):
    (tmp_path / "m" / "1").mkdir(parents=True)
    (tmp_path / "m" / "1" / "model.onnx").write_bytes(b"the model")
    delete_version(tmp_path / "m" / "1")
    delete_version(tmp_path / "m" / "1")
    assert not list((tmp_path / "m").iterdir())

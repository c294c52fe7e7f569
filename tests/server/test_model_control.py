"""Models that come and go while a server runs."""

import os
import re
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest

from headgate.foreign import open_inference as oip
from headgate.server import Server, ServerSettings
from headgate.server.config import ModelConfig
from headgate.server.errors import FailedPreconditionError, NotFoundError, StartupError
from headgate.server.model_control import ModelControl
from headgate.server.model_folder import read_model_folder
from headgate.server.repository import ModelEntry, ModelRepository, ModelState

CPU = "CPUExecutionProvider"
TIMES = "g (float[batch,2] x) => (float[batch,1] y) <float[2,1] w = {%d, 0}> { y = MatMul(x, w) }"


@pytest.fixture
def folder(tmp_path, write_model):
    write_model(tmp_path, "times", TIMES % 1)
    write_model(tmp_path, "iris")
    return tmp_path


@pytest.fixture
def control(folder):
    """Start a control as a server does: `control("explicit", "times")`; `control.repository` is what clients see."""
    controls = []

    def start(mode, *names, poll_interval_s=3600):
        repository = ModelRepository()
        control = ModelControl(repository, folder, ModelConfig(), mode, names)
        control.repository = repository
        controls.append(control)
        control.start(lambda entry: repository.load(entry, CPU), poll_interval_s, lambda model: None)
        return control

    yield start
    for each in controls:
        each.close()
        each.repository.close()


def look_again(control):
    """What polling does when the time has come."""
    control._follow_folder()


def states(control):
    return {(entry.name, entry.version): entry.state.name for entry in control.repository}


def test_without_control_all_models_are_loaded_at_the_start(control):
    server = control("none")
    assert states(server) == {("iris", 1): "READY", ("times", 1): "READY"}
    for change in (server.load, server.unload):
        with pytest.raises(FailedPreconditionError, match="start it with --model-control explicit"):
            change("iris")


def test_an_explicit_server_loads_what_it_is_told(control):
    server = control("explicit", "times")
    assert states(server) == {("iris", 1): "UNLOADED", ("times", 1): "READY"}
    server.load("iris")
    server.unload("times")
    server.unload("times")
    assert states(server) == {("iris", 1): "READY", ("times", 1): "UNLOADED"}
    iris = server.repository.model("iris")
    server.load("iris")
    assert server.repository.model("iris") is iris, "it lies there as it was"


def test_an_explicit_server_serves_what_it_is_told_and_no_more(control, folder, write_model):
    server = control("explicit", "times")
    write_model(folder, "price")
    times = server.repository.model("times")
    for names in (["times", "price"], ["iris", "times"], []):
        server.serve(names)
        assert [name for (name, _), state in states(server).items() if state == "READY"] == sorted(names)
        assert not names or server.repository.model("times") is times


def test_an_explicit_server_may_begin_with_nothing_or_all(control):
    assert set(states(control("explicit")).values()) == {"UNLOADED"}
    assert set(states(control("explicit", "*")).values()) == {"READY"}


@pytest.mark.parametrize("name", ["rose", "", ".", "..", "../iris", "iris/1", "iris\0"])
def test_there_is_no_such_model(control, name):
    server = control("explicit")
    with pytest.raises(NotFoundError, match="there is no model"):
        server.load(name)
    with pytest.raises(NotFoundError, match="there is no model"):
        server.unload(name)


def test_no_models(tmp_path):
    with pytest.raises(StartupError, match=r"holds no model at <model>/<version>/model\.onnx"):
        ModelControl(ModelRepository(), tmp_path, ModelConfig())
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "model.onnx").touch()
    with pytest.raises(StartupError, match="is a model's folder; give the repository that holds it"):
        ModelControl(ModelRepository(), tmp_path, ModelConfig())
    ModelControl(ModelRepository(), tmp_path, ModelConfig(), "poll")
    with pytest.raises(StartupError, match="there is no model 'iris' to load"):
        ModelControl(ModelRepository(), tmp_path, ModelConfig(), "explicit", ["iris"])


def test_models_to_load_are_for_an_explicit_server(folder):
    with pytest.raises(
        StartupError, match="'iris' is to be loaded at the start, which is for --model-control explicit"
    ):
        ModelControl(ModelRepository(), folder, ModelConfig(), "poll", ["iris"])


def test_a_new_version_takes_over(control, folder, write_model):
    server = control("explicit", "times")
    write_model(folder, "times", TIMES % 2, version=2)
    server.load("times")
    assert states(server) == {("iris", 1): "UNLOADED", ("times", 2): "READY"}


def test_a_new_version_that_fails_does_not(control, folder, write_model):
    server = control("explicit", "times")
    write_model(folder, "times", TIMES % 2, version=2).write_bytes(b"no onnx")
    for _ in range(2):
        with pytest.raises(FailedPreconditionError, match=r"model 'times' cannot be loaded: .*onnxruntime"):
            server.load("times")
        assert states(server) == {("iris", 1): "UNLOADED", ("times", 1): "READY", ("times", 2): "UNAVAILABLE"}
        assert server.repository.model("times").version == 1
    assert server.repository.is_ready


def test_wrong_config_changes_nothing(control, folder):
    server = control("explicit", "times")
    (folder / "times" / "config.toml").write_text("[batching]\nsize = 1\n")
    with pytest.raises(FailedPreconditionError, match=r"batching\.size"):
        server.load("times")
    assert server.repository.model("times")


def test_new_settings_are_a_reason_to_load_anew(control, folder):
    server = control("explicit", "times")
    (folder / "times" / "config.toml").write_text("[batching]\nmax_batch_size = 5\n")
    server.load("times")
    assert server.repository.model("times").config.batching.max_batch_size == 5


def test_polling_follows_the_folder(control, folder, write_model):
    server = control("poll")
    write_model(folder, "price")
    write_model(folder, "times", TIMES % 2, version=2, config="[versions]\nlatest = 2\nlabels = {stable = 1}\n")
    shutil.rmtree(folder / "iris")
    look_again(server)
    assert states(server) == {("price", 1): "READY", ("times", 1): "READY", ("times", 2): "READY"}
    assert server.repository.labels("times") == {"stable": 1}
    model = server.repository.model("times")
    look_again(server)
    assert server.repository.model("times") is model
    shutil.rmtree(folder / "times" / "2")
    look_again(server)
    assert states(server) == {("price", 1): "READY", ("times", 1): "READY"}


def test_polling_tries_what_fails_once_for_each_change(control, folder, write_model, caplog):
    server = control("poll")
    loads = []
    load = server._load
    server._load = lambda entry: loads.append(entry.version) or load(entry)
    path = write_model(folder, "times", TIMES % 2, version=2)
    good = path.read_bytes()
    path.write_bytes(good[:-20])
    for _ in range(3):
        look_again(server)
    assert loads == [2]
    assert [record.message for record in caplog.records if "stays as it is" in record.message] != []
    assert len(caplog.records) == 1
    path.write_bytes(good)
    look_again(server)
    assert loads == [2, 2]
    assert states(server) == {("iris", 1): "READY", ("times", 2): "READY"}


def test_a_new_model_that_fails_leaves_the_server_ready(folder, write_model, serve):
    server = serve(folder, model_control="poll", poll_interval_s=3600)
    write_model(folder, "price").write_bytes(b"no onnx")
    look_again(server.control)
    assert states(server)["price", 1] == "UNAVAILABLE"
    assert ask(server, "ServerReady").ready


def test_polling_keeps_what_cannot_be_looked_at(control, folder, caplog):
    server = control("poll")
    away = folder.with_name("away")
    for name, problem in [("times", "model 'times' stays as it is"), ("", "the repository .* stays as it is")]:
        (folder / name).rename(away)
        folder.joinpath(name).symlink_to(name or folder.name)
        for _ in range(3):
            look_again(server)
        folder.joinpath(name).unlink()
        away.rename(folder / name)
        (record,) = caplog.records
        assert re.match(f"{problem}: .*: Too many levels of symbolic links", record.message)
        caplog.clear()
        look_again(server)
        assert states(server) == {("iris", 1): "READY", ("times", 1): "READY"}


def test_one_model_that_fails_in_an_unexpected_way_leaves_the_others(control, folder, write_model, caplog):
    server = control("poll")
    load = server._load

    def load_or_fail(entry):
        if entry.name == "lookup":
            raise MemoryError("no more")
        return load(entry)

    server._load = load_or_fail
    write_model(folder, "lookup")
    write_model(folder, "price")
    look_again(server)
    look_again(server)
    assert states(server)["price", 1] == "READY"
    (record,) = caplog.records
    assert (record.message, bool(record.exc_info)) == ("model 'lookup' stays as it is: no more", True)


def test_labels_move_without_loading(control, folder, write_model):
    write_model(folder, "times", TIMES % 2, version=2)
    config = folder / "times" / "config.toml"
    config.write_text("[versions]\nall = true\nlabels = {stable = 1}")
    server = control("poll")
    before = server.repository.model("times")
    config.write_text("[versions]\nspecific = [1, 2]\nlabels = {stable = 2}")
    look_again(server)
    assert server.repository.model("times", label="stable") is before
    assert server.repository.entry("times").config.versions.specific == [1, 2]


def test_a_version_whose_files_change_is_loaded_anew(control, folder, write_model):
    server = control("poll")
    before = server.repository.model("times")
    shutil.rmtree(folder / "times")
    path = write_model(folder, "times", TIMES % 3)
    os.utime(path, (1, 1))
    look_again(server)
    assert server.repository.model("times") is not before
    path.write_bytes(b"no onnx")
    look_again(server)
    look_again(server)
    entry = server.repository.entry("times")
    assert (entry.state, "cannot be loaded" in entry.reason) == (ModelState.READY, True)


def test_polling_looks_again_and_again(control, folder, write_model):
    server = control("poll", poll_interval_s=0.01)
    loaded = threading.Event()
    load = server._load

    def load_and_tell(entry):
        load(entry)
        loaded.set()

    server._load = load_and_tell
    write_model(folder, "price")
    assert loaded.wait(30)
    assert server.repository.model("price")


@pytest.fixture(params=["completion-queue", "public-api"])
def explicit_server(request, folder, serve):
    return serve(folder, model_control="explicit", load_models=["times"], transport=request.param)


def ask(server, name, /, **fields):
    with grpc.insecure_channel(server.address, [("grpc.use_local_subchannel_pool", 1)]) as channel:
        return channel.unary_unary(
            f"/inference.GRPCInferenceService/{name}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=getattr(oip, f"{name}Response").FromString,
        )(getattr(oip, f"{name}Request")(**fields))


def index(server, **fields):
    models = ask(server, "RepositoryIndex", **fields).models
    return [(model.name, model.version, model.state, model.reason) for model in models]


def test_calls_that_control(explicit_server, folder, write_model):
    times = ("times", "1", "READY", "")
    assert index(explicit_server) == [("iris", "1", "UNAVAILABLE", "unloaded"), times]
    assert index(explicit_server, ready=True) == [times]
    assert not ask(explicit_server, "ModelReady", name="iris").ready
    ask(explicit_server, "RepositoryModelLoad", model_name="iris")
    assert ask(explicit_server, "ModelReady", name="iris").ready
    assert ask(explicit_server, "ServerReady").ready
    unload = {"unload_dependents": oip.ModelRepositoryParameter(bool_param=True)}
    ask(explicit_server, "RepositoryModelUnload", model_name="times", parameters=unload)
    assert index(explicit_server, ready=True) == [("iris", "1", "READY", "")]


@pytest.mark.parametrize(
    ("name", "fields", "code", "message"),
    [
        ("RepositoryModelLoad", {"model_name": "rose"}, "NOT_FOUND", "there is no model 'rose' in the repository"),
        ("RepositoryModelUnload", {"model_name": "rose"}, "NOT_FOUND", "there is no model 'rose'"),
        ("RepositoryIndex", {"repository_name": "x"}, "INVALID_ARGUMENT", "has one repository, without a name"),
        ("RepositoryModelLoad", {"repository_name": "x"}, "INVALID_ARGUMENT", "without a name"),
        (
            "RepositoryModelLoad",
            {"model_name": "iris", "parameters": {"config": oip.ModelRepositoryParameter(string_param="{}")}},
            "UNIMPLEMENTED",
            "parameter 'config' cannot be given: .* edit their config.toml",
        ),
        (
            "RepositoryModelUnload",
            {"model_name": "iris", "parameters": {"force": oip.ModelRepositoryParameter(bool_param=True)}},
            "INVALID_ARGUMENT",
            "parameter 'force' is not known",
        ),
    ],
)
def test_calls_that_do_not_fit(folder, serve, name, fields, code, message):
    server = serve(folder, model_control="explicit")
    with pytest.raises(grpc.RpcError, match=message) as caught:
        ask(server, name, **fields)
    assert caught.value.code().name == code


def test_no_request_is_lost_while_versions_change(explicit_server, folder, write_model, connect, infer_request):
    """Many clients ask without end, while one version after another takes over."""
    calls = connect(explicit_server)
    stop = threading.Event()

    def ask_on(number):
        answers = []
        while not stop.is_set():
            # Rows beyond a batch are run in parts.
            rows = 200 if number % 4 == 0 else 1 + number
            response = calls.infer(infer_request("times", x=np.ones((rows, 2), np.float32)))
            factors = set(np.frombuffer(response.raw_output_contents[0], np.float32))
            answers.append((int(response.model_version), factors))
        return answers

    with ThreadPoolExecutor(8) as pool:
        futures = [pool.submit(ask_on, number) for number in range(8)]
        try:
            for version in range(2, 8):
                mode = "threads" if version % 2 else "inline"
                write_model(folder, "times", TIMES % version, version=version)
                (folder / "times" / "config.toml").write_text(f'[execution]\nmode = "{mode}"\nintra_op_threads = 1\n')
                ask(explicit_server, "RepositoryModelLoad", model_name="times")
                # What was answered before has to be asked anew.
                response = calls.infer(infer_request("times", x=np.ones((1, 2), np.float32)))
                assert response.model_version == str(version)
        finally:
            stop.set()
        for future in futures:
            answers = future.result()
            assert all(factors == {version} for version, factors in answers)
            versions = [version for version, _ in answers]
            assert versions == sorted(versions)
    assert index(explicit_server, ready=True) == [("times", "7", "READY", "")]


def test_unloading_waits_for_what_was_accepted(folder, write_model, serve, connect, infer_request):
    write_model(folder, "busy", config='[execution]\nmode = "threads"\nintra_op_threads = 1\n')
    server = serve(folder, model_control="explicit", load_models=["busy"])
    calls = connect(server)
    session, begun = server.repository.model("busy").session, threading.Event()
    run = session.run
    session.run = lambda inputs: begun.set() or run(inputs)
    running = calls.infer.future(infer_request("busy", steps=np.full((64, 1), 500, np.int64)))
    assert begun.wait(30)
    ask(server, "RepositoryModelUnload", model_name="busy")
    assert running.result().model_version == "1"
    with pytest.raises(grpc.RpcError, match="model 'busy' is not loaded"):
        calls.infer(infer_request("busy", steps=np.ones((1, 1), np.int64)))


def test_an_unloaded_model_leaves_no_thread(folder, serve):
    (folder / "times" / "config.toml").write_text('[execution]\nmode = "threads"\ninstances = 3\n')
    server = serve(folder, model_control="explicit")
    before = {thread.name for thread in threading.enumerate()}
    server.control.load("times")
    server.control.unload("times")
    assert {thread.name for thread in threading.enumerate() if thread.name.startswith("headgate-run")} <= before


def ask_on_and_on(server):
    while True:
        ask(server, "ServerLive")


def test_stopping_while_a_model_is_loaded(folder, write_model):
    server = Server(ServerSettings(repository=folder, port=0, model_control="explicit"))
    server.start()
    entry = read_model_folder(folder / "iris", ModelConfig())
    loading, go_on = threading.Event(), threading.Event()
    load = server.control._load

    def slow(entry: ModelEntry):
        loading.set()
        assert go_on.wait(30)
        return load(entry)

    server.control._load = slow
    with grpc.insecure_channel(server.address, [("grpc.use_local_subchannel_pool", 1)]) as channel:
        method = channel.unary_unary("/inference.GRPCInferenceService/RepositoryModelLoad")
        call = method.future(oip.RepositoryModelLoadRequest(model_name=entry.name).SerializeToString())
        assert loading.wait(30)
        later = method.future(oip.RepositoryModelLoadRequest(model_name=entry.name).SerializeToString())
        while server.control._thread._work_queue.empty():
            threading.Event().wait(0.01)
        stopping = threading.Thread(target=server.stop)
        stopping.start()
        assert server.control._closing.wait(30)
        # Requests are refused before the model is there.
        with pytest.raises(grpc.RpcError):
            ask_on_and_on(server)
        go_on.set()
        with pytest.raises(grpc.RpcError, match="the server is shutting down"):
            later.result()
        stopping.join(30)
        assert not stopping.is_alive()
        assert call.code() in (grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)

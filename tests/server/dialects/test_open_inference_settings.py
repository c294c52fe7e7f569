"""Triton's logging and trace extensions on a real server."""

import logging

import grpc
import numpy as np
import pytest

from headgate.foreign import open_inference as oip

INVALID_ARGUMENT = grpc.StatusCode.INVALID_ARGUMENT
UNIMPLEMENTED = grpc.StatusCode.UNIMPLEMENTED
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
LEVELS = ["log_verbose_level", "log_info", "log_warning", "log_error"]


@pytest.fixture(autouse=True)
def logger():
    """What this server logs, back to what it was after the test."""
    logger = logging.getLogger("headgate")
    before = logger.level
    logger.setLevel(logging.WARNING)
    yield logger
    logger.setLevel(before)


@pytest.fixture
def log_settings(calls):
    method = calls.channel.unary_unary(
        "/inference.GRPCInferenceService/LogSettings",
        request_serializer=lambda settings: oip.LogSettingsRequest(settings=settings).SerializeToString(),
        response_deserializer=oip.LogSettingsResponse.FromString,
    )

    def ask(**settings):
        kinds = {bool: "bool_param", int: "uint32_param", str: "string_param"}
        answer = method({name: {kinds[type(v)]: v} if v is not None else {} for name, v in settings.items()})
        return {name: getattr(s, s.WhichOneof("parameter_choice")) for name, s in answer.settings.items()}

    return ask


@pytest.fixture
def trace_settings(calls):
    return calls.channel.unary_unary(
        "/inference.GRPCInferenceService/TraceSetting",
        request_serializer=lambda request: request.SerializeToString(),
        response_deserializer=oip.TraceSettingResponse.FromString,
    )


def refusal(method, *arguments, **named):
    with pytest.raises(grpc.RpcError) as caught:
        method(*arguments, **named)
    return caught.value.code(), caught.value.details()


class TestLogging:
    def test_get(self, log_settings):
        assert log_settings() == {
            "log_verbose_level": 0,
            "log_info": False,
            "log_warning": True,
            "log_error": True,
            "log_file": "",
            "log_format": "default",
        }

    @pytest.mark.parametrize(
        ("settings", "on"),
        [
            ({"log_info": True}, [0, 1, 1, 1]),
            ({"log_verbose_level": 1}, [1, 1, 1, 1]),
            ({"log_warning": False}, [0, 0, 0, 1]),
            ({"log_error": False}, [0, 0, 0, 0]),
            ({"log_verbose_level": 0, "log_info": True}, [0, 1, 1, 1]),
            ({"log_verbose_level": 0, "log_info": False, "log_warning": False, "log_error": True}, [0, 0, 0, 1]),
            ({"log_file": "", "log_format": "default"}, [0, 0, 1, 1]),
        ],
    )
    def test_update(self, log_settings, logger, settings, on):
        answer = log_settings(**settings)
        assert [int(answer[name]) for name in LEVELS] == on
        assert log_settings() == answer
        numbers = [logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR]
        below = logging.getLogger("headgate.server.model")
        assert [below.isEnabledFor(number) for number in numbers] == [bool(each) for each in on]

    def test_one_after_another(self, log_settings):
        log_settings(log_error=False)
        assert [int(log_settings(log_info=True)[name]) for name in LEVELS] == [0, 1, 1, 1]
        assert [int(log_settings(log_verbose_level=1)[name]) for name in LEVELS] == [1, 1, 1, 1]
        assert [int(log_settings(log_verbose_level=0)[name]) for name in LEVELS] == [0, 1, 1, 1]

    @pytest.mark.parametrize(
        ("settings", "code", "message"),
        [
            ({"log_info": 1}, INVALID_ARGUMENT, "log_info is 1; give true or false, as bool_param"),
            ({"log_info": None}, INVALID_ARGUMENT, "log_info is None; give true or false, as bool_param"),
            ({"log_info": "yes"}, INVALID_ARGUMENT, "log_info is 'yes'; give true or false, as bool_param"),
            ({"log_verbose_level": True}, INVALID_ARGUMENT, "log_verbose_level is True; give 0 or 1, as uint32_param"),
            ({"log_verbose_level": 3}, INVALID_ARGUMENT, "log_verbose_level is 3; give 0 or 1, as uint32_param"),
            ({"log_colour": True}, INVALID_ARGUMENT, "there is no setting 'log_colour'; there are log_verbose_level, "),
            ({"log_file": "/tmp/log"}, UNIMPLEMENTED, "log_file is settled when the server starts; it logs to its st"),
            ({"log_format": "ISO8601"}, UNIMPLEMENTED, "log_format is settled when the server starts; it logs to its"),
            (
                {"log_info": True, "log_warning": False},
                INVALID_ARGUMENT,
                "what is logged is everything from one",
            ),
        ],
    )
    def test_refused(self, log_settings, settings, code, message):
        before = log_settings()
        found, details = refusal(log_settings, **settings)
        assert (found, details[: len(message)]) == (code, message)
        # Nothing has changed, also not by what stands beside.
        refusal(log_settings, log_error=False, **settings)
        assert log_settings() == before

    def test_verbose_tells_what_is_refused(self, calls, log_settings, infer_request, caplog):
        wrong = infer_request("ro\nse", x=np.ones((1, 2), np.float32))
        assert refusal(calls.infer, wrong)[0] is grpc.StatusCode.NOT_FOUND
        assert not caplog.records
        log_settings(log_verbose_level=1)
        refusal(calls.infer, wrong, metadata=[("traceparent", TRACEPARENT)])
        refusal(calls.infer, wrong, metadata=[("traceparent", "00-\\x1b-01")])
        traced, plain = [record.getMessage() for record in caplog.records]
        assert traced.startswith(
            f"refused with NOT_FOUND (traceparent {TRACEPARENT}): there is no model 'ro\\nse'; this server has "
        )
        assert plain.startswith("refused with NOT_FOUND: there is no model")

    def test_a_failure_tells_its_trace(self, calls, infer_request, caplog):
        request = infer_request("lookup", "r\n1", x=np.array([[9]]))
        with pytest.raises(grpc.RpcError, match="the model failed on this request"):
            calls.infer(request, metadata=[("traceparent", TRACEPARENT)])
        (line,) = [record.getMessage() for record in caplog.records]
        assert line.startswith(f"lookup/1 failed on request 'r\\n1' of 1 rows (traceparent {TRACEPARENT}): ")
        caplog.clear()

    def test_tritonclient(self, server):
        triton = pytest.importorskip("tritonclient.grpc", reason="asks with tritonclient")
        with triton.InferenceServerClient(f"127.0.0.1:{server.port}") as client:
            assert client.update_log_settings({"log_info": True, "log_verbose_level": 1}, as_json=True)["settings"][
                "log_verbose_level"
            ] == {"uint32_param": 1}
            assert client.get_log_settings().settings["log_info"].bool_param
            with pytest.raises(triton.InferenceServerException, match="log_file is settled when the server starts"):
                client.update_log_settings({"log_file": "/tmp/log"})
            assert "logging" in client.get_server_metadata().extensions


class TestTracing:
    def test_get(self, trace_settings):
        for model in ("", "price"):
            settings = trace_settings(oip.TraceSettingRequest(model_name=model)).settings
            assert {name: list(setting.value) for name, setting in settings.items()} == {"trace_level": ["OFF"]}

    def test_unknown_model(self, trace_settings):
        code, details = refusal(trace_settings, oip.TraceSettingRequest(model_name="rose"))
        assert (code, details[:25]) == (grpc.StatusCode.NOT_FOUND, "there is no model 'rose';")

    def test_update(self, trace_settings):
        for settings in ({"trace_level": {"value": ["OFF"]}}, {"trace_level": {}, "trace_rate": {}}):
            assert trace_settings(oip.TraceSettingRequest(settings=settings)).settings["trace_level"].value == ["OFF"]
        for name, values in [("trace_level", ["TIMESTAMPS"]), ("trace_rate", ["1"]), ("colour", ["red"])]:
            code, details = refusal(trace_settings, oip.TraceSettingRequest(settings={name: {"value": values}}))
            assert (code, details) == (UNIMPLEMENTED, f"this server traces nothing, so that {name} cannot be set")

    def test_tritonclient(self, server):
        triton = pytest.importorskip("tritonclient.grpc", reason="asks with tritonclient")
        with triton.InferenceServerClient(f"127.0.0.1:{server.port}") as client:
            assert client.get_trace_settings(as_json=True) == {"settings": {"trace_level": {"value": ["OFF"]}}}
            client.update_trace_settings("price", {"trace_level": None})
            with pytest.raises(triton.InferenceServerException, match="traces nothing"):
                client.update_trace_settings(settings={"trace_level": ["TIMESTAMPS"], "trace_rate": "500"})
            assert "trace" not in client.get_server_metadata().extensions

"""Reflection, asked directly and by grpcio-reflection's client over a real channel."""

from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from hypothesis import given
from hypothesis import strategies as st

from headgate.foreign import health, open_inference, reflection_v1, reflection_v1alpha, tensorflow_serving
from headgate.server.dialects.reflection import Reflection
from headgate.v1 import Tensor, prediction_service_pb2

INVALID_ARGUMENT = grpc.StatusCode.INVALID_ARGUMENT.value[0]
NOT_FOUND = grpc.StatusCode.NOT_FOUND.value[0]
SERVICES = [
    prediction_service_pb2.DESCRIPTOR.services_by_name["PredictionService"],
    open_inference.SERVICE,
    tensorflow_serving.PREDICTION_SERVICE,
    tensorflow_serving.MODEL_SERVICE,
    health.SERVICE,
    reflection_v1.SERVICE,
    reflection_v1alpha.SERVICE,
]
REFLECTION = Reflection(SERVICES)


@pytest.fixture(params=[reflection_v1, reflection_v1alpha], ids=["v1", "v1alpha"])
def ask(request):
    def ask(**question):
        response = REFLECTION.answer(request.param.ServerReflectionRequest(**question))
        assert isinstance(response, request.param.ServerReflectionResponse)
        return response

    return ask


def files_in(response):
    assert response.WhichOneof("message_response") == "file_descriptor_response", response
    return [FileDescriptorProto.FromString(file) for file in response.file_descriptor_response.file_descriptor_proto]


def pool_of(files):
    pool = DescriptorPool()
    for file in reversed(files):
        pool.AddSerializedFile(file.SerializeToString())
    return pool


def symbols_of(service):
    """The full names of a service, its methods, and everything in its file and in the files that it imports."""

    def of_message(message):
        yield message.full_name
        yield from (field.full_name for field in message.fields)
        for enum in message.enum_types:
            yield from of_enum(enum, message.full_name)
        for nested in message.nested_types:
            yield from of_message(nested)

    def of_enum(enum, scope):
        yield enum.full_name
        yield from (f"{scope}.{value.name}" for value in enum.values)

    def of_file(file):
        for message in file.message_types_by_name.values():
            yield from of_message(message)
        for enum in file.enum_types_by_name.values():
            yield from of_enum(enum, file.package)
        for imported in file.dependencies:
            yield from of_file(imported)

    yield service.full_name
    yield from (method.full_name for method in service.methods)
    yield from of_file(service.file)


def test_list_services(ask):
    names = [service.name for service in ask(list_services="").list_services_response.service]
    assert names == [
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
        "headgate.v1.PredictionService",
        "inference.GRPCInferenceService",
        "tensorflow.serving.ModelService",
        "tensorflow.serving.PredictionService",
    ]


@pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.full_name)
def test_symbols_come_with_all_that_they_need(ask, service):
    for symbol in symbols_of(service):
        files = files_in(ask(file_containing_symbol=symbol))
        assert len({file.name for file in files}) == len(files)
        home = pool_of(files).FindFileByName(files[0].name)
        names = {*home.message_types_by_name, *home.enum_types_by_name, *home.services_by_name}
        names |= {value.name for enum in home.enum_types_by_name.values() for value in enum.values}
        assert symbol.removeprefix(f"{home.package}.").split(".")[0] in names


def test_files_by_name_are_those_that_symbols_are_in(ask):
    by_symbol = ask(file_containing_symbol="headgate.v1.PredictRequest").file_descriptor_response
    name = FileDescriptorProto.FromString(by_symbol.file_descriptor_proto[0]).name
    assert name == "headgate/v1/prediction_service.proto"
    assert ask(file_by_filename=name).file_descriptor_response == by_symbol
    assert {file.name for file in files_in(ask(file_by_filename=name))} > {"headgate/v1/tensor.proto"}


@pytest.mark.parametrize(
    "question",
    [
        {"file_containing_symbol": "inference.Nothing"},
        {"file_containing_symbol": "inference"},
        {"file_containing_symbol": ""},
        {"file_by_filename": "headgate/v1/nothing.proto"},
        {"all_extension_numbers_of_type": "inference.Nothing"},
        {"file_containing_extension": {"containing_type": "headgate.v1.Tensor", "extension_number": 1}},
        # The process knows these, but no service needs them.
        {"file_containing_symbol": "google.protobuf.FileDescriptorProto"},
        {"file_by_filename": "google/protobuf/descriptor.proto"},
    ],
    ids=str,
)
def test_what_is_not_served_is_not_found(ask, question):
    response = ask(host="here", **question)
    assert response.error_response.error_code == NOT_FOUND
    assert "\n" not in response.error_response.error_message
    assert response.valid_host == response.original_request.host == "here"


def test_names_that_are_not_found_are_in_the_message(ask):
    message = ask(file_containing_symbol="headgate.v1.Tensr\n").error_response.error_message
    assert message == r"nothing here is called 'headgate.v1.Tensr\n'; list_services tells what there is"


def test_messages_have_no_extensions(ask):
    response = ask(all_extension_numbers_of_type="headgate.v1.Tensor")
    assert response.all_extension_numbers_response.base_type_name == "headgate.v1.Tensor"
    assert not response.all_extension_numbers_response.extension_number


def test_no_question_is_invalid(ask):
    assert ask().error_response.error_code == INVALID_ARGUMENT


@given(
    st.sampled_from(["file_containing_symbol", "file_by_filename", "all_extension_numbers_of_type"]),
    st.text(st.characters(exclude_categories=["Cs"])) | st.text("inferenceModelConfig.", max_size=24),
)
def test_any_text_gets_an_answer(question, text):
    request = reflection_v1.ServerReflectionRequest(**{question: text})
    response = REFLECTION.answer(request)
    assert response.original_request == request
    assert response.WhichOneof("message_response") is not None


def test_only_files_behind_the_given_services_are_served():
    reflection = Reflection([health.SERVICE])
    request = reflection_v1.ServerReflectionRequest(file_containing_symbol="inference.ModelConfig")
    assert reflection.answer(request).error_response.error_code == NOT_FOUND


@pytest.fixture
def channel():
    """A channel to a grpcio server that answers v1alpha, the version of grpcio-reflection's client."""
    handler = grpc.stream_stream_rpc_method_handler(
        lambda requests, context: map(REFLECTION.answer, requests),
        request_deserializer=reflection_v1alpha.ServerReflectionRequest.FromString,
        response_serializer=reflection_v1alpha.ServerReflectionResponse.SerializeToString,
    )
    name = reflection_v1alpha.SERVICE.full_name
    server = grpc.server(
        ThreadPoolExecutor(2), [grpc.method_handlers_generic_handler(name, {"ServerReflectionInfo": handler})]
    )
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield channel
    server.stop(None).wait()


def test_a_client_without_proto_files_builds_messages(channel):
    database = ProtoReflectionDescriptorDatabase(channel)
    assert set(database.get_services()) == {service.full_name for service in SERVICES}
    pool = DescriptorPool(database)
    predict = pool.FindServiceByName("headgate.v1.PredictionService").methods_by_name["Predict"]
    request = GetMessageClass(predict.input_type)(model="iris", inputs=[{"name": "x", "floats": [1.5]}])
    assert Tensor.FromString(request.inputs[0].SerializeToString()).floats == [1.5]
    infer = pool.FindMessageTypeByName("inference.ModelInferRequest")
    assert GetMessageClass(infer)(model_name="iris").SerializeToString() == b"\x0a\x04iris"
    assert list(database.FindAllExtensionNumbers("inference.ModelInferRequest")) == []
    with pytest.raises(KeyError):
        database.FindFileContainingSymbol("inference.Nothing")

"""The foreign messages against the packages that own their names."""

import subprocess
import sys

import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.descriptor_pb2 import DescriptorProto, EnumDescriptorProto, ServiceDescriptorProto
from google.protobuf.json_format import MessageToDict
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from headgate import foreign
from headgate.foreign import health, open_inference, reflection_v1, reflection_v1alpha

tritonclient = pytest.importorskip(
    "tritonclient.grpc", reason="compares with tritonclient: pip install '.[conformance]'"
)
model_config_pb2, service_pb2 = tritonclient.model_config_pb2, tritonclient.service_pb2


def copy(descriptor, proto_class):
    proto = proto_class()
    descriptor.CopyToProto(proto)
    return proto


def messages_of(*files):
    """Every message by its full name: nested ones and the entries of maps too."""
    found = {}

    def visit(descriptor):
        found[descriptor.full_name] = descriptor
        for nested in descriptor.nested_types:
            visit(nested)

    for file in files:
        for descriptor in file.message_types_by_name.values():
            visit(descriptor)
    return found


def enums_of(*files):
    enums = [enum for file in files for enum in file.enum_types_by_name.values()]
    enums += [enum for message in messages_of(*files).values() for enum in message.enum_types]
    return {enum.full_name: [(v.name, v.number) for v in copy(enum, EnumDescriptorProto).value] for enum in enums}


def fields_of(message):
    """Everything that decides how a message travels, by the names of its fields."""
    proto = copy(message, DescriptorProto)
    fields = {"map_entry": proto.options.map_entry}
    for field in proto.field:
        oneof = proto.oneof_decl[field.oneof_index].name if field.HasField("oneof_index") else None
        packed = field.options.SerializeToString()
        facts = (field.number, field.type, field.label, field.type_name, oneof, field.proto3_optional, packed)
        fields[field.name] = facts
    return fields


def methods_of(service):
    return {
        method.name: (method.input_type, method.output_type, method.client_streaming, method.server_streaming)
        for method in copy(service, ServiceDescriptorProto).method
    }


TRITON_FILES = (service_pb2.DESCRIPTOR, model_config_pb2.DESCRIPTOR)
TRITON_MESSAGES = messages_of(*TRITON_FILES)
OUR_MESSAGES = messages_of(open_inference.SERVICE.file)
PROPERTIES_ENTRY = "inference.ModelMetadataResponse.PropertiesEntry"


def test_only_properties_is_not_tritons():
    assert OUR_MESSAGES.keys() - TRITON_MESSAGES.keys() == {PROPERTIES_ENTRY}
    string = (FieldDescriptor.TYPE_STRING, FieldDescriptor.LABEL_OPTIONAL, "", None, False, b"")
    assert fields_of(OUR_MESSAGES[PROPERTIES_ENTRY]) == {"map_entry": True, "key": (1, *string), "value": (2, *string)}
    properties = fields_of(OUR_MESSAGES["inference.ModelMetadataResponse"])["properties"]
    assert properties[:4] == (
        6,
        FieldDescriptor.TYPE_MESSAGE,
        FieldDescriptor.LABEL_REPEATED,
        f".{PROPERTIES_ENTRY}",
    )


@pytest.mark.parametrize("name", sorted(OUR_MESSAGES.keys() - {PROPERTIES_ENTRY}))
def test_fields_are_tritons(name):
    ours, theirs = fields_of(OUR_MESSAGES[name]), fields_of(TRITON_MESSAGES[name])
    ours.pop("properties", None)
    if name in messages_of(model_config_pb2.DESCRIPTOR):
        theirs = {field: theirs.get(field) for field in ours}
    assert ours == theirs


def test_enums_are_tritons():
    ours, theirs = enums_of(open_inference.SERVICE.file), enums_of(*TRITON_FILES)
    assert len(ours) == 3
    assert ours == {name: theirs[name] for name in ours}


def test_methods_are_tritons():
    ours = methods_of(open_inference.SERVICE)
    assert ours == methods_of(service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"])


def test_health_is_that_of_grpc():
    file = health.SERVICE.file
    ours, theirs = messages_of(file), messages_of(health_pb2.DESCRIPTOR)
    assert {name: fields_of(ours[name]) for name in theirs} == {name: fields_of(theirs[name]) for name in theirs}
    assert enums_of(file) == enums_of(health_pb2.DESCRIPTOR)
    methods, their_methods = methods_of(health.SERVICE), methods_of(health_pb2.DESCRIPTOR.services_by_name["Health"])
    assert {name: methods[name] for name in their_methods} == their_methods
    # Newer than the Python package: https://github.com/grpc/grpc-proto/blob/master/grpc/health/v1/health.proto
    if "List" not in their_methods:
        assert methods["List"] == (".grpc.health.v1.HealthListRequest", ".grpc.health.v1.HealthListResponse", 0, 0)
        statuses = health.HealthListResponse(statuses={"a": health.HealthCheckResponse(status="SERVING")})
        assert statuses.SerializeToString() == b"\x0a\x07\x0a\x01a\x12\x02\x08\x01"


@pytest.mark.parametrize("ours", [reflection_v1, reflection_v1alpha], ids=["v1", "v1alpha"])
def test_reflection_is_that_of_grpc(ours):
    """v1 is v1alpha under another name; there is no Python package with it."""
    file, package = ours.SERVICE.file, ours.SERVICE.file.package

    def described(file, service):
        found = {name: fields_of(message) for name, message in messages_of(file).items()}
        return repr((sorted(found.items()), methods_of(service)))

    theirs = described(reflection_pb2.DESCRIPTOR, reflection_pb2.DESCRIPTOR.services_by_name["ServerReflection"])
    assert described(file, ours.SERVICE) == theirs.replace("grpc.reflection.v1alpha.", f"{package}.")


@pytest.mark.parametrize("module", [open_inference, health])
def test_module_names_all_messages_and_enums(module):
    file = module.SERVICE.file
    named = {value.DESCRIPTOR for value in vars(module).values() if hasattr(value, "DESCRIPTOR")}
    assert named == {*file.message_types_by_name.values(), *file.enum_types_by_name.values()}
    assert all(getattr(module, descriptor.name).DESCRIPTOR is descriptor for descriptor in named)


def filled(message_class, skip=()):
    """A message in which every field is set, down to the leaves; of a oneof, the last."""
    message = message_class()
    for name, field in message.DESCRIPTOR.fields_by_name.items():
        if name in skip:
            continue
        value = getattr(message, name)
        if field.message_type is None:
            leaf = leaf_of(field)
            if hasattr(value, "append"):
                value.extend([leaf, leaf])
            else:
                setattr(message, name, leaf)
        elif field.message_type.GetOptions().map_entry:
            key, item = (field.message_type.fields_by_name[part] for part in ("key", "value"))
            value[leaf_of(key)].CopyFrom(filled(GetMessageClass(item.message_type)))
        elif hasattr(value, "append"):
            value.append(filled(GetMessageClass(field.message_type)))
        else:
            value.CopyFrom(filled(GetMessageClass(field.message_type)))
    return message


def leaf_of(field):
    text = f"value {field.number}"
    values = {
        FieldDescriptor.TYPE_BOOL: True,
        FieldDescriptor.TYPE_BYTES: b"\x00\xff" + text.encode(),
        FieldDescriptor.TYPE_DOUBLE: 0.1 + field.number,
        FieldDescriptor.TYPE_ENUM: 1,
        FieldDescriptor.TYPE_FLOAT: 0.5 + field.number,
        FieldDescriptor.TYPE_STRING: text,
    }
    return values.get(field.type, field.number)


def json_of(message):
    return MessageToDict(message, preserving_proto_field_name=True)


PEERS = {
    **{
        name: getattr(service_pb2, name, None) or getattr(model_config_pb2, name)
        for name in open_inference.SERVICE.file.message_types_by_name
    },
    "HealthCheckRequest": health_pb2.HealthCheckRequest,
    "HealthCheckResponse": health_pb2.HealthCheckResponse,
    "ServerReflectionRequest": reflection_pb2.ServerReflectionRequest,
    "ServerReflectionResponse": reflection_pb2.ServerReflectionResponse,
}


@pytest.mark.parametrize("name", PEERS)
def test_bytes_are_read_and_written_alike(name):
    theirs = PEERS[name]
    ours = foreign.message_class(theirs.DESCRIPTOR.full_name)
    sent = filled(ours, skip={"properties"})
    received = theirs.FromString(sent.SerializeToString())
    # An unknown or misread field would be missing here.
    assert json_of(received) == json_of(sent)
    assert ours.FromString(received.SerializeToString()) == sent


def test_tritons_clients_skip_properties():
    sent = open_inference.ModelMetadataResponse(name="iris", properties={"license": "MIT"})
    assert json_of(service_pb2.ModelMetadataResponse.FromString(sent.SerializeToString())) == {"name": "iris"}


def test_unknown_names_are_key_errors():
    with pytest.raises(KeyError):
        foreign.message_class("inference.Nothing")
    with pytest.raises(KeyError):
        foreign.enum_type("inference.ModelConfig")
    with pytest.raises(KeyError):
        foreign.service("inference.Health")


IMPORT_OURS = "from headgate.foreign import health, open_inference, reflection_v1, reflection_v1alpha"
IMPORT_THEIRS = """
import tritonclient.grpc
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2
from tritonclient.grpc import service_pb2
"""
EXCHANGE = """
theirs = service_pb2.ModelInferRequest(model_name="iris", raw_input_contents=[b"1234"])
ours = open_inference.ModelInferRequest.FromString(theirs.SerializeToString())
assert (ours.model_name, ours.raw_input_contents[0]) == ("iris", b"1234")
assert ours.SerializeToString() == theirs.SerializeToString()
status = health.HealthCheckResponse(status=health.HealthCheckResponse.SERVING).SerializeToString()
assert health_pb2.HealthCheckResponse.FromString(status).status == health_pb2.HealthCheckResponse.SERVING
query = reflection_v1alpha.ServerReflectionRequest(list_services="*").SerializeToString()
assert reflection_pb2.ServerReflectionRequest.FromString(query).list_services == "*"
print("both")
"""


@pytest.mark.parametrize("imports", [(IMPORT_OURS, IMPORT_THEIRS), (IMPORT_THEIRS, IMPORT_OURS)], ids=["first", "last"])
def test_both_live_in_one_process(imports):
    program = "\n".join((*imports, EXCHANGE))
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stdout == "both\n", done.stderr

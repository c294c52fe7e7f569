"""The messages of TensorFlow and TensorFlow Serving against the packages that own their names."""

import subprocess
import sys

import pytest
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import FieldDescriptor

from headgate.foreign import tensorflow_serving as ours

FILES = [ours.PREDICTION_SERVICE.file, *ours.PREDICTION_SERVICE.file.dependencies]
FILES = [file for file in FILES if not file.name.startswith("google/")]
MODULES = [
    "tensorflow_serving.apis.prediction_service_pb2",
    "tensorflow_serving.apis.model_service_pb2",
]


def messages_in(files):
    def of(message):
        yield message
        for nested in message.nested_types:
            yield from of(nested)

    return {each.full_name: each for file in files for top in file.message_types_by_name.values() for each in of(top)}


def enums_in(files):
    enums = [enum for file in files for enum in file.enum_types_by_name.values()]
    enums += [enum for message in messages_in(files).values() for enum in message.enum_types]
    return {enum.full_name: enum for enum in enums}


def facts(field):
    """What decides how a field travels."""
    kind = field.message_type or field.enum_type
    oneof = field.containing_oneof
    packed = field.type not in (FieldDescriptor.TYPE_BYTES, FieldDescriptor.TYPE_STRING) and field.is_packed
    return field.number, field.type, field.is_repeated, kind and kind.full_name, oneof and oneof.name, packed


@pytest.fixture(scope="module", params=["tensorflow", "tensorflow.serving"])
def package(request):
    """A package, and the pool of those that own it."""
    if request.param == "tensorflow":
        pytest.importorskip("tensorflow.core.protobuf.meta_graph_pb2")
        pytest.importorskip("tensorflow.core.example.example_pb2")
    for module in MODULES if request.param == "tensorflow.serving" else ():
        pytest.importorskip(module, reason="compares with tensorflow-serving-api, which is not installed")
    return request.param, descriptor_pool.Default()


def test_fields_and_values_are_theirs(package):
    name, theirs = package
    files = [file for file in FILES if (file.package == "tensorflow.serving") == (name == "tensorflow.serving")]
    for message in messages_in(files).values():
        their_fields = theirs.FindMessageTypeByName(message.full_name).fields_by_name
        for field in message.fields:
            assert facts(field) == facts(their_fields[field.name]), field.full_name
    for enum in enums_in(files).values():
        their_values = theirs.FindEnumTypeByName(enum.full_name).values_by_name
        assert all(their_values[value.name].number == value.number for value in enum.values), enum.full_name


@pytest.mark.parametrize("service", [ours.PREDICTION_SERVICE, ours.MODEL_SERVICE], ids=lambda service: service.name)
def test_methods_are_theirs(service):
    for module in MODULES:
        pytest.importorskip(module, reason="compares with tensorflow-serving-api, which is not installed")
    theirs = descriptor_pool.Default().FindServiceByName(service.full_name)

    def methods_of(each):
        return {method.name: (method.input_type.full_name, method.output_type.full_name) for method in each.methods}

    assert methods_of(service) == methods_of(theirs)


def test_module_names_all_messages_and_enums():
    named = {value.DESCRIPTOR for value in vars(ours).values() if hasattr(value, "DESCRIPTOR")}
    tops = [
        each for file in FILES for each in (*file.message_types_by_name.values(), *file.enum_types_by_name.values())
    ]
    assert named == set(tops)
    assert all(getattr(ours, descriptor.name).DESCRIPTOR is descriptor for descriptor in named)


@pytest.mark.slow
def test_tensorflow_may_be_there_first():
    pytest.importorskip("tensorflow")
    script = """if True:
        import tensorflow as tf
        from headgate.foreign import tensorflow_serving as ours
        theirs = tf.make_tensor_proto([[1.5, 2.5]])
        tensor = ours.TensorProto.FromString(theirs.SerializeToString())
        assert not isinstance(tensor, type(theirs))
        assert tensor.SerializeToString(deterministic=True) == theirs.SerializeToString(deterministic=True)
    """
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)

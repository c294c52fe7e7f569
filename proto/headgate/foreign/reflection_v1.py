"""gRPC's server reflection, v1; `reflection_v1.proto` has the fields."""

from headgate.foreign import message_class, service

SERVICE = service("grpc.reflection.v1.ServerReflection")

ServerReflectionRequest = message_class("grpc.reflection.v1.ServerReflectionRequest")
ServerReflectionResponse = message_class("grpc.reflection.v1.ServerReflectionResponse")

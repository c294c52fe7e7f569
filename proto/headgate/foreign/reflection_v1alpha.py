"""gRPC's server reflection, v1alpha; `reflection_v1.proto` has the fields."""

from headgate.foreign import message_class, service

SERVICE = service("grpc.reflection.v1alpha.ServerReflection")

ServerReflectionRequest = message_class("grpc.reflection.v1alpha.ServerReflectionRequest")
ServerReflectionResponse = message_class("grpc.reflection.v1alpha.ServerReflectionResponse")

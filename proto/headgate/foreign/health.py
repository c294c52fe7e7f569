"""gRPC's health checks; `health.proto` has the fields."""

from headgate.foreign import message_class, service

SERVICE = service("grpc.health.v1.Health")

HealthCheckRequest = message_class("grpc.health.v1.HealthCheckRequest")
HealthCheckResponse = message_class("grpc.health.v1.HealthCheckResponse")
HealthListRequest = message_class("grpc.health.v1.HealthListRequest")
HealthListResponse = message_class("grpc.health.v1.HealthListResponse")

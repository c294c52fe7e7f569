"""gRPC's server reflection: which services there are, and the .proto files behind them."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from typing import Any

from google.protobuf.descriptor import FileDescriptor, ServiceDescriptor
from google.protobuf.descriptor_pool import DescriptorPool

from headgate.foreign import reflection_v1, reflection_v1alpha
from headgate.server.dialects.messages import parse
from headgate.server.errors import InvalidArgumentError, NotFoundError, ServerError
from headgate.server.transport import Call, Method, MethodKind
from headgate.server.transport.base import status_details

_RESPONSES = {
    reflection_v1.ServerReflectionRequest: reflection_v1.ServerReflectionResponse,
    reflection_v1alpha.ServerReflectionRequest: reflection_v1alpha.ServerReflectionResponse,
}


class Reflection:
    """Answers questions about the given services, about the files that define them and those that they import."""

    def __init__(self, services: Iterable[ServiceDescriptor]) -> None:
        """Take the services from any pools; no two of them may define the same name."""
        services = list(services)
        self._names = sorted(service.full_name for service in services)
        # A pool of its own: those that the services come from know files that this server does not serve.
        self._pool = DescriptorPool()
        for file in _with_imports(*(service.file for service in services)):
            self._pool.AddSerializedFile(file.serialized_pb)

    def methods(self) -> Mapping[str, Method]:
        """Return the methods of both versions by path."""
        return {
            f"/{reflection.SERVICE.full_name}/ServerReflectionInfo": Method(
                functools.partial(self._reflect, reflection.ServerReflectionRequest), MethodKind.ORDERED_STREAM
            )
            for reflection in (reflection_v1, reflection_v1alpha)
        }

    def _reflect(self, request_class: Any, call: Call) -> None:
        call.reply(self.answer(parse(request_class, call.request)).SerializeToString())

    def answer(self, request: Any) -> Any:
        """Answer a ServerReflectionRequest of v1 or v1alpha with a ServerReflectionResponse of the same version.

        What cannot be answered is an `error_response`, which leaves the stream open.
        """
        response = _RESPONSES[type(request)](valid_host=request.host, original_request=request)
        try:
            self._fill(response, request)
        except ServerError as error:
            response.error_response.error_code = error.code.value[0]
            response.error_response.error_message = status_details(error)
        return response

    def _fill(self, response: Any, request: Any) -> None:
        question = request.WhichOneof("message_request")
        if question is None:
            raise InvalidArgumentError("the reflection request asks nothing; set one field of message_request")
        asked = getattr(request, question)
        try:
            match question:
                case "list_services":
                    for name in self._names:
                        response.list_services_response.service.add(name=name)
                case "file_by_filename":
                    _fill_files(response, self._pool.FindFileByName(asked))
                case "file_containing_symbol":
                    _fill_files(response, self._file_containing(asked))
                case "all_extension_numbers_of_type":
                    message = self._pool.FindMessageTypeByName(asked)
                    # proto3 messages have no extensions: the list of numbers stays empty.
                    response.all_extension_numbers_response.base_type_name = message.full_name
                case "file_containing_extension":
                    raise NotFoundError(f"{asked.containing_type!r} has no extensions; this server serves proto3 only")
        except KeyError:
            raise NotFoundError(f"nothing here is called {asked!r}; list_services tells what there is") from None

    def _file_containing(self, symbol: str) -> FileDescriptor:
        try:
            return self._pool.FindFileContainingSymbol(symbol)
        except KeyError:
            # protobuf finds fields and enum values there, but no methods.
            return self._pool.FindMethodByName(symbol).containing_service.file


def _fill_files(response: Any, file: FileDescriptor) -> None:
    # Clients take the first file for the one that they asked for.
    response.file_descriptor_response.file_descriptor_proto.extend(f.serialized_pb for f in _with_imports(file)[::-1])


def _with_imports(*files: FileDescriptor) -> list[FileDescriptor]:
    """Return files and all that they import, directly or not, each once and after its imports."""
    found: dict[str, FileDescriptor] = {}

    def visit(file: FileDescriptor) -> None:
        if file.name not in found:
            for imported in file.dependencies:
                visit(imported)
            found[file.name] = file

    for file in files:
        visit(file)
    return list(found.values())

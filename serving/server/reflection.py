"""gRPC's server reflection: which services there are and what their messages look like, for tools such as grpcurl."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, text_format
from google.protobuf.descriptor import FileDescriptor, ServiceDescriptor
from google.protobuf.message import DecodeError
from grpc_reflection.v1alpha import reflection_pb2 as pb

from serving import errors
from serving.server.calls import Call, Incoming, Outgoing, Streaming

NAME = "ServerReflection"
# The messages of both versions are the same.
PACKAGES = ("grpc.reflection.v1", "grpc.reflection.v1alpha")
NOT_FOUND = 5


class Reflection:
    """Tells about `services` and itself."""

    def __init__(self, services: Iterable[ServiceDescriptor]) -> None:
        self._pool = descriptor_pool.Default()
        self._services = sorted([*(service.full_name for service in services), *map(self._own, PACKAGES)])

    def _own(self, package: str) -> str:
        """The name in `package`; from now on the pool knows it, of which grpcio-reflection brings v1alpha only."""
        name = f"{package}.{NAME}"
        try:
            self._pool.FindServiceByName(name)
        except KeyError:
            file = descriptor_pb2.FileDescriptorProto()
            pb.DESCRIPTOR.CopyToProto(file)
            text = text_format.MessageToString(file).replace("v1alpha", package.rpartition(".")[2])
            self._pool.AddSerializedFile(
                text_format.Parse(text, descriptor_pb2.FileDescriptorProto()).SerializeToString()
            )
        return name

    def methods(self) -> list[Streaming]:
        """All of the service's methods."""
        return [Streaming(f"/{package}.{NAME}/ServerReflectionInfo", self._open) for package in PACKAGES]

    def _open(self, call: Call, stream: Outgoing) -> Incoming:
        return _Conversation(self, stream)

    def answer(self, request: pb.ServerReflectionRequest) -> pb.ServerReflectionResponse:
        """One answer to one question."""
        response = pb.ServerReflectionResponse(valid_host=request.host, original_request=request)
        question = request.WhichOneof("message_request")
        try:
            if question == "list_services":
                response.list_services_response.service.extend(pb.ServiceResponse(name=name) for name in self._services)
            elif question == "file_by_filename":
                self._tell(self._pool.FindFileByName(request.file_by_filename), response)
            elif question == "file_containing_symbol":
                self._tell(self._pool.FindFileContainingSymbol(request.file_containing_symbol), response)
            elif question == "file_containing_extension":
                extension = request.file_containing_extension
                message = self._pool.FindMessageTypeByName(extension.containing_type)
                self._tell(self._file(self._pool.FindExtensionByNumber(message, extension.extension_number)), response)
            elif question == "all_extension_numbers_of_type":
                message = self._pool.FindMessageTypeByName(request.all_extension_numbers_of_type)
                numbers = sorted(extension.number for extension in self._pool.FindAllExtensions(message))
                response.all_extension_numbers_response.base_type_name = message.full_name
                response.all_extension_numbers_response.extension_number.extend(numbers)
            else:
                response.error_response.error_code = 3
                response.error_response.error_message = "The request asks for nothing"
        except KeyError:
            response.error_response.error_code = NOT_FOUND
            response.error_response.error_message = "Not found"
        return response

    @staticmethod
    def _file(extension: Any) -> FileDescriptor:
        file: FileDescriptor = extension.file
        return file

    @staticmethod
    def _tell(file: FileDescriptor, response: pb.ServerReflectionResponse) -> None:
        """The file and all that it imports."""
        waiting, seen = [file], {file.name}
        while waiting:
            current = waiting.pop(0)
            proto = descriptor_pb2.FileDescriptorProto()
            current.CopyToProto(proto)
            response.file_descriptor_response.file_descriptor_proto.append(proto.SerializeToString())
            fresh = [needed for needed in current.dependencies if needed.name not in seen]
            waiting += fresh
            seen |= {needed.name for needed in fresh}


class _Conversation:
    def __init__(self, reflection: Reflection, stream: Outgoing) -> None:
        self._reflection = reflection
        self._stream = stream

    def received(self, message: bytes) -> None:
        try:
            request = pb.ServerReflectionRequest.FromString(message)
        except DecodeError as error:
            raise errors.Internal(f"Error parsing ServerReflectionRequest: {error}") from error
        self._stream.send(self._reflection.answer(request).SerializeToString())

    def half_closed(self) -> None:
        self._stream.close()

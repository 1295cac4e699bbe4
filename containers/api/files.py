"""Doors to the files of a container: parse, ask access, call one act, render. `/api/files/{id}…` are the same views."""

from __future__ import annotations

import base64
import binascii
import io
from typing import Any

from django.http import HttpResponseBase
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema, inline_serializer
from rest_framework import serializers, status
from rest_framework.parsers import MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from containers import access, files, transfers
from containers.api import fileparts as parts
from containers.api.views import ASKS_NODE, actor_of, checked
from containers.models import Container
from lormas.common.api.parsers import ApiParser
from lormas.common.errors import Invalid, TooLarge

PATH = OpenApiParameter("path", str, required=True, description="Relative to the root; a leading slash means the root.")
IF_MATCH = OpenApiParameter("If-Match", str, OpenApiParameter.HEADER, description="Only over the content of this ETag (412 else); * = over any.")
IF_NONE_MATCH = OpenApiParameter("If-None-Match", str, OpenApiParameter.HEADER, description="PUT: * = only if there is none (412 else).")
NODE = (*ASKS_NODE, 413)
PIECE_BYTES = 16 * 1024 * 1024
FORM_BYTES = 1024 * 1024 * 1024


def named_container(request: Request, container_id: str) -> Container:
    return access.get_container(request.user, container_id, "containers.files")


def named_path(request: Request, name: str = "path", *, required: bool = True) -> str:
    path = request.query_params.get(name, "")
    if required and not path.strip("/"):
        raise Invalid("Name a path by ?path=.", code="bad_path")
    return files.check_path(path)


def _checked(serializer: Any, data: Any) -> dict[str, Any]:
    """A body whose paths are sound."""
    body = checked(serializer, data)
    for name in ("path", "source", "target"):
        files.check_path(body.get(name) or "")
    for path in body.get("paths") or []:
        files.check_path(path)
    for pair in body.get("pairs") or []:
        files.check_path(pair["source"])
        files.check_path(pair["target"])
    return body


class FilesRoot(APIView):
    """A folder."""

    problem_statuses = NODE

    @extend_schema(
        parameters=[OpenApiParameter("path", str), OpenApiParameter("offset", int), OpenApiParameter("limit", int, description="At most 1000.")],
        responses={200: parts.ListingSerializer},
    )
    def get(self, request: Request, container_id: str) -> Response:
        container = named_container(request, container_id)
        offset, limit = parts.query_integer(request, "offset", default=0), parts.query_integer(request, "limit", default=1000, most=1000)
        return Response(files.listing(container, path=named_path(request, required=False), offset=offset, limit=max(1, limit)))

    @extend_schema(
        parameters=[PATH, OpenApiParameter("forever", bool, description="Not to the trash.")],
        responses={
            200: inline_serializer(
                "Deleted", {"deleted": serializers.ListField(child=serializers.DictField(child=serializers.CharField(allow_blank=True)))}
            )
        },
    )
    def delete(self, request: Request, container_id: str) -> Response:
        """To the trash; `path` may be given several times."""
        container = named_container(request, container_id)
        named_path(request)
        paths = [files.check_path(path) for path in request.query_params.getlist("path")]
        forever = request.query_params.get("forever", "").lower() in ("true", "1")
        return Response(files.delete(container, paths=paths, forever=forever, actor=actor_of(request)))


class FileContent(APIView):
    """One file: read it, or write it whole."""

    problem_statuses = (*NODE, 412)
    parser_classes = [ApiParser, parts.RawParser]
    max_body_bytes = 3 * 1024 * 1024

    def _named(self, request: Request, path: str | None) -> str:
        return files.check_path(path) if path is not None else named_path(request)

    @extend_schema(
        parameters=[PATH, IF_NONE_MATCH], responses={(200, "application/octet-stream"): OpenApiTypes.BINARY, 206: OpenApiTypes.BINARY, 304: None}
    )
    def get(self, request: Request, container_id: str, path: str | None = None) -> HttpResponseBase:
        container = named_container(request, container_id)
        return parts.read_response(request, container, paths=[self._named(request, path)], archive="", attachment=False)

    @extend_schema(
        parameters=[PATH, IF_MATCH, IF_NONE_MATCH],
        request={"application/json": parts.ContentSerializer, "application/octet-stream": OpenApiTypes.BINARY},
        responses={200: parts.WrittenSerializer, 201: parts.WrittenSerializer},
    )
    def put(self, request: Request, container_id: str, path: str | None = None) -> Response:
        """The whole content: raw, or as JSON `{content, encoding?}`. Atomic: a reader sees the old or the new, never half."""
        container = named_container(request, container_id)
        name = self._named(request, path)
        is_json = (request.content_type or "").partition(";")[0].strip().lower() == "application/json"
        if is_json:
            body = checked(parts.ContentSerializer, request.data)
            try:
                data = base64.b64decode(body["content"], validate=True) if body["encoding"] == "base64" else body["content"].encode()
            except (binascii.Error, ValueError):
                raise Invalid("content is not base64.", code="bad_content") from None
            read, size = io.BytesIO(data).read, len(data)
        else:
            read, size = request._request.read, parts.body_length(request)
        done = transfers.write(
            container,
            read,
            actor=actor_of(request),
            path=name,
            size=size,
            if_match=request.headers.get("If-Match", ""),
            if_none_match=request.headers.get("If-None-Match", "").strip() == "*",
        )
        headers = {"ETag": f'"{done["entry"]["etag"]}"'}
        return Response(done, status=status.HTTP_201_CREATED if done["created"] else status.HTTP_200_OK, headers=headers)


class FileByPath(FileContent):
    """`…/files/<path>`: the same for one file whose path is in the address. Names of other routes (`content`, `upload`...) go by `?path=`."""

    @extend_schema(
        operation_id="containers_files_by_path_retrieve",
        responses={(200, "application/octet-stream"): OpenApiTypes.BINARY, 206: OpenApiTypes.BINARY, 304: None},
        parameters=[IF_NONE_MATCH],
    )
    def get(self, request: Request, container_id: str, path: str | None = None) -> HttpResponseBase:
        return super().get(request, container_id, path or "")

    @extend_schema(
        parameters=[IF_MATCH, IF_NONE_MATCH],
        request={"application/json": parts.ContentSerializer, "application/octet-stream": OpenApiTypes.BINARY},
        responses={200: parts.WrittenSerializer, 201: parts.WrittenSerializer},
    )
    def put(self, request: Request, container_id: str, path: str | None = None) -> Response:
        return super().put(request, container_id, path or "")


class FileDownload(APIView):
    """A file, or a folder (or several paths) as an archive made on the way."""

    problem_statuses = NODE

    @extend_schema(
        parameters=[PATH, OpenApiParameter("format", str, enum=["tar.gz", "zip"], description="Of an archive.")],
        responses={(200, "application/octet-stream"): OpenApiTypes.BINARY, 206: OpenApiTypes.BINARY},
    )
    def get(self, request: Request, container_id: str) -> HttpResponseBase:
        container = named_container(request, container_id)
        paths = [files.check_path(path) for path in request.query_params.getlist("path")] or [""]
        kind = request.query_params.get("format", "")
        if kind not in ("", "tar.gz", "zip"):
            raise Invalid("format is tar.gz or zip.")
        return parts.read_response(request, container, paths=paths, archive=kind, attachment=True)


class FileUpload(APIView):
    """Many files at once as a form; for large ones, and to go on after an interruption, see `uploads`."""

    problem_statuses = NODE
    parser_classes = [MultiPartParser]

    @extend_schema(
        parameters=[OpenApiParameter("path", str, description="The folder they go into."), OpenApiParameter("overwrite", bool)],
        request={"multipart/form-data": {"type": "object", "additionalProperties": {"type": "string", "format": "binary"}}},
        responses={201: inline_serializer("Uploaded", {"entries": parts.FileEntrySerializer(many=True)})},
    )
    def post(self, request: Request, container_id: str) -> Response:
        container = named_container(request, container_id)
        folder = named_path(request, required=False).strip("/")
        if parts.body_length(request) > FORM_BYTES:
            raise TooLarge(f"A form may have {FORM_BYTES} bytes: send larger files as uploads.")
        overwrite = request.query_params.get("overwrite", "").lower() in ("true", "1")
        sent = [item for name in request.FILES for item in request.FILES.getlist(name)]
        if not sent:
            raise Invalid("The form holds no file.", code="no_files")
        done = []
        for item in sent:
            name = files.check_path(f"{folder}/{item.name}" if folder else str(item.name))
            written = transfers.write(container, item.read, actor=actor_of(request), path=name, size=item.size, if_none_match=not overwrite)
            done.append(written["entry"])
        return Response({"entries": done}, status=status.HTTP_201_CREATED)


class FileUploads(APIView):
    """Begin an upload in pieces."""

    problem_statuses = NODE

    @extend_schema(request=parts.UploadBeginSerializer, responses={201: parts.UploadSerializer})
    def post(self, request: Request, container_id: str) -> Response:
        container = named_container(request, container_id)
        body = _checked(parts.UploadBeginSerializer, request.data)
        begun = files.begin_upload(container, path=body["path"], size=body["size"], overwrite=body["overwrite"])
        return Response(begun, status=status.HTTP_201_CREATED, headers={"Location": f"/api/containers/{container.pk}/files/uploads/{begun['id']}"})


class FileUploadPiece(APIView):
    """An upload in pieces: where it is, its next piece, its end."""

    problem_statuses = NODE
    parser_classes = [parts.RawParser]

    @extend_schema(responses={200: parts.UploadSerializer})
    def get(self, request: Request, container_id: str, upload_id: str) -> Response:
        return Response(files.upload_state(named_container(request, container_id), upload_id))

    @extend_schema(
        parameters=[OpenApiParameter("offset", int, required=True)],
        request={"application/octet-stream": OpenApiTypes.BINARY},
        responses={200: parts.PieceSerializer},
    )
    def put(self, request: Request, container_id: str, upload_id: str) -> Response:
        """Bytes from `offset` on, at most 16 MiB; the file is there when the last one has come."""
        container = named_container(request, container_id)
        offset, length = parts.query_integer(request, "offset"), parts.body_length(request)
        if length > PIECE_BYTES:
            raise TooLarge(f"A piece may have {PIECE_BYTES} bytes.")
        if length < 0:
            raise Invalid("A piece needs a Content-Length.")
        done = transfers.upload_piece(container, request._request.read, actor=actor_of(request), upload_id=upload_id, offset=offset, length=length)
        return Response({"offset": done["offset"], "entry": done.get("entry")})

    @extend_schema(responses={204: None})
    def delete(self, request: Request, container_id: str, upload_id: str) -> Response:
        files.cancel_upload(named_container(request, container_id), upload_id)
        return Response(status=status.HTTP_204_NO_CONTENT)


class FileCreate(APIView):
    """An empty file, or a folder; folders above are made."""

    problem_statuses = NODE

    @extend_schema(request=parts.CreateSerializer, responses={201: parts.EntryAnswerSerializer})
    def post(self, request: Request, container_id: str) -> Response:
        container = named_container(request, container_id)
        body = _checked(parts.CreateSerializer, request.data)
        kind = "file" if body["type"] == "file" else "folder"
        return Response(files.create(container, path=body["path"], kind=kind, actor=actor_of(request)), status=status.HTTP_201_CREATED)


class FileRename(APIView):
    """Rename or move, one or many; nothing is replaced unless `overwrite`."""

    problem_statuses = NODE

    @extend_schema(request=parts.RenameSerializer, responses={200: inline_serializer("Moved", {"moved": serializers.IntegerField()})})
    def post(self, request: Request, container_id: str) -> Response:
        container = named_container(request, container_id)
        body = _checked(parts.RenameSerializer, request.data)
        return Response(files.move(container, pairs=body["pairs"], overwrite=body["overwrite"], actor=actor_of(request)))


class FileCopy(APIView):
    """Copy files and folders; without a target beside the source."""

    problem_statuses = NODE

    @extend_schema(
        request=parts.RenameSerializer, responses={200: inline_serializer("Copied", {"copied": serializers.ListField(child=serializers.CharField())})}
    )
    def post(self, request: Request, container_id: str) -> Response:
        container = named_container(request, container_id)
        body = _checked(parts.RenameSerializer, request.data)
        return Response(files.copy(container, pairs=body["pairs"], actor=actor_of(request)))


class FileChmod(APIView):
    """Permission bits; only 0777 count."""

    problem_statuses = NODE

    @extend_schema(request=parts.ChmodSerializer, responses={200: inline_serializer("Changed", {"changed": serializers.IntegerField()})})
    def post(self, request: Request, container_id: str) -> Response:
        container = named_container(request, container_id)
        body = _checked(parts.ChmodSerializer, request.data)
        done = files.chmod(container, paths=body["paths"], mode=int(body["mode"], 8), recursive=body["recursive"], actor=actor_of(request))
        return Response(done)


class FileCompress(APIView):
    """Pack into an archive beside them."""

    problem_statuses = NODE

    @extend_schema(
        request=parts.CompressSerializer,
        responses={201: inline_serializer("Compressed", {"entry": parts.FileEntrySerializer(), "path": serializers.CharField()})},
    )
    def post(self, request: Request, container_id: str) -> Response:
        container = named_container(request, container_id)
        body = _checked(parts.CompressSerializer, request.data)
        done = files.compress(container, paths=body["paths"], name=body["target"], kind=body["format"], actor=actor_of(request))
        return Response(done, status=status.HTTP_201_CREATED)


class FileDecompress(APIView):
    """Unpack a zip or tar. Looked at whole first: an archive that would reach out of its folder is refused before anything is written."""

    problem_statuses = NODE

    @extend_schema(
        request=parts.DecompressSerializer,
        responses={
            200: inline_serializer(
                "Decompressed",
                {"files": serializers.IntegerField(), "bytes": serializers.IntegerField(), "path": serializers.CharField(allow_blank=True)},
            )
        },
    )
    def post(self, request: Request, container_id: str) -> Response:
        container = named_container(request, container_id)
        body = _checked(parts.DecompressSerializer, request.data)
        done = files.decompress(container, path=body["path"], folder=body["target"], overwrite=body["overwrite"], actor=actor_of(request))
        return Response(done)

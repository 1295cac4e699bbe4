"""What the file doors share: bodies that are not JSON, streamed answers, shapes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import IO, Any, Final

from django.http import HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.utils.http import content_disposition_header
from rest_framework import serializers
from rest_framework.parsers import BaseParser
from rest_framework.request import Request

from containers import transfers
from lormas.common.api.serializers import StrictSerializer
from lormas.common.errors import Invalid
from nodes.bulk import BulkStream

IMAGES: Final = {
    "png": "image/png",
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "gif": "image/gif",
    "webp": "image/webp",
    "avif": "image/avif",
    "bmp": "image/bmp",
    "ico": "image/x-icon",
    "svg": "image/svg+xml",
}
"""Shown by browsers as pictures. All answers carry a sandboxing policy, so a picture that is a script is a picture still (H01)."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
SANDBOX: Final = "default-src 'none'; style-src 'unsafe-inline'; sandbox"


class RawParser(BaseParser):
    """Any body that is not JSON: left unread; the view reads it in pieces."""

    media_type = "*/*"

    def parse(self, stream: IO[bytes], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None) -> Any:
        return {}


def safe_name(name: str) -> str:
    """For a header: no control characters, and nothing that is no text (B12)."""
    return _CONTROL.sub("_", name.encode("utf-8", "replace").decode()).strip() or "file"


def _range(header: str, size: int) -> tuple[int, int] | None:
    """(offset, length) of one `bytes=` range; None: not one that we serve, so the whole is sent. Raises ValueError: not satisfiable."""
    found = re.fullmatch(r"bytes=(\d*)-(\d*)", header.strip())
    if found is None or not any(found.groups()):
        return None
    first, last = found.groups()
    if not first:
        length = min(int(last), size)
        if length == 0:
            raise ValueError
        return size - length, length
    begin = int(first)
    end = min(int(last), size - 1) if last else size - 1
    if begin >= size or end < begin:
        raise ValueError
    return begin, end - begin + 1


def read_response(request: Request, container: Any, *, paths: list[str], archive: str, attachment: bool) -> HttpResponseBase:
    """A file, or several things as an archive, streamed; `If-None-Match` and one `Range` are understood."""
    wants_range = request.headers.get("Range", "")
    if wants_range and not archive and len(paths) == 1:
        probe = transfers.open_read(container, paths=paths, archive="", offset=0, length=0)
        head = probe.head
        probe.close_soon()
        fits_if = request.headers.get("If-Range", "").strip('"') in ("", head.get("etag"))
        if not head.get("archive") and fits_if:
            try:
                span = _range(wants_range, head["size"])
            except ValueError:
                return HttpResponse(status=416, headers={"Content-Range": f"bytes */{head['size']}", "Accept-Ranges": "bytes"})
            if span is not None:
                stream = transfers.open_read(container, paths=paths, archive="", offset=span[0], length=span[1])
                if stream.head.get("etag") == head["etag"]:
                    return file_response(request, stream, attachment=attachment, span=span)
                stream.close_soon()
    return file_response(request, transfers.open_read(container, paths=paths, archive=archive), attachment=attachment)


def file_response(
    request: Request, stream: BulkStream, *, attachment: bool, content_type: str = "", span: tuple[int, int] | None = None
) -> HttpResponseBase:
    """The transfer as an answer. It is closed with the response, however that ends."""
    head = stream.head
    name, etag, size = safe_name(str(head.get("name", "file"))), str(head.get("etag", "")), int(head.get("size", 0))
    kept = [one.strip().removeprefix("W/").strip('"') for one in request.headers.get("If-None-Match", "").split(",")]
    if etag and not attachment and etag in kept:
        stream.close_soon()
        return HttpResponse(status=304, headers={"ETag": f'"{etag}"'})
    kind = content_type or _type_of(name, attachment=attachment)
    if request.method == "HEAD":
        stream.close_soon()
        response: HttpResponseBase = HttpResponse(content_type=kind)
    else:
        response = StreamingHttpResponse(transfers.pieces(stream), content_type=kind, status=206 if span else 200)
        response._resource_closers.append(stream.close_soon)  # type: ignore[attr-defined]
    if not head.get("archive"):
        response.headers["Content-Length"] = str(span[1] if span else size)
        response.headers["Accept-Ranges"] = "bytes"
        if span:
            response.headers["Content-Range"] = f"bytes {span[0]}-{span[0] + span[1] - 1}/{size}"
    if etag and not head.get("archive"):
        response.headers["ETag"] = f'"{etag}"'
    response.headers["Content-Disposition"] = content_disposition_header(attachment, name) or "attachment"
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Content-Security-Policy"] = SANDBOX
    response.headers["Cache-Control"] = "private, no-cache"
    return response


def _type_of(name: str, *, attachment: bool) -> str:
    extension = name.rpartition(".")[2].lower()
    if attachment:
        return "application/gzip" if name.endswith(".tar.gz") else "application/octet-stream"
    return IMAGES.get(extension, "application/octet-stream" if extension in ("bin", "jar", "exe", "so") else "text/plain; charset=utf-8")


def body_length(request: Request) -> int:
    """As announced; -1 if it was not."""
    text = request.headers.get("Content-Length", "")
    return int(text) if text.isdigit() else -1


def query_integer(request: Request, name: str, *, default: int | None = None, most: int = 2**53) -> int:
    """Raises Invalid."""
    text = request.query_params.get(name, "" if default is None else str(default))
    if not text.isascii() or not text.isdigit() or int(text) > most:
        raise Invalid(f"{name} must be a whole number of at most {most}.")
    return int(text)


# ------------------------------------------------------------------------------------------------------------------ shapes


class FileEntrySerializer(StrictSerializer):
    """One entry of a folder. A link is shown as a link; `target_type` says what is behind it, if that is inside."""

    name = serializers.CharField()
    type = serializers.ChoiceField(choices=["file", "folder", "link", "other"])
    size = serializers.IntegerField()
    mode = serializers.IntegerField(help_text="Permission bits, as a number: 420 is 0644.")
    uid = serializers.IntegerField(required=False)
    gid = serializers.IntegerField(required=False)
    modified_at_unix = serializers.FloatField()
    etag = serializers.CharField(allow_blank=True)
    target = serializers.CharField(allow_blank=True)
    target_type = serializers.CharField(allow_blank=True)


class ListingSerializer(StrictSerializer):
    """A page of a folder: folders first, then by name."""

    path = serializers.CharField(allow_blank=True)
    prefix = serializers.CharField(help_text="What the root is called inside the container.")
    whole = serializers.BooleanField(help_text="The root is the container's whole file system: no trash, no quota.")
    entries = FileEntrySerializer(many=True)
    total = serializers.IntegerField()


class EntryAnswerSerializer(StrictSerializer):
    entry = FileEntrySerializer()


class WrittenSerializer(StrictSerializer):
    entry = FileEntrySerializer()
    created = serializers.BooleanField()


class ContentSerializer(StrictSerializer):
    """A file's new content as text, or as base64."""

    content = serializers.CharField(allow_blank=True, trim_whitespace=False)
    encoding = serializers.ChoiceField(choices=["utf-8", "base64"], default="utf-8")


class PathSerializer(StrictSerializer):
    path = serializers.CharField(max_length=4096)


class CreateSerializer(PathSerializer):
    type = serializers.ChoiceField(choices=["file", "directory", "folder"], default="file")


class PairSerializer(StrictSerializer):
    source = serializers.CharField(max_length=4096)  # type: ignore[assignment]
    target = serializers.CharField(max_length=4096, allow_blank=True, default="")


class RenameSerializer(StrictSerializer):
    """One (`source`, `target`) or many (`pairs`)."""

    source = serializers.CharField(max_length=4096, required=False)  # type: ignore[assignment]
    target = serializers.CharField(max_length=4096, required=False, allow_blank=True)
    pairs = PairSerializer(many=True, required=False)
    overwrite = serializers.BooleanField(default=False)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        pairs = list(attrs.get("pairs") or [])
        if "source" in attrs:
            pairs.append({"source": attrs["source"], "target": attrs.get("target", "")})
        if not pairs or len(pairs) > 1000:
            raise serializers.ValidationError("Name source and target, or 1 to 1000 pairs.")
        return {"pairs": pairs, "overwrite": attrs.get("overwrite", False)}


class ManySerializer(StrictSerializer):
    paths = serializers.ListField(child=serializers.CharField(max_length=4096), min_length=1, max_length=1000)


class ChmodSerializer(ManySerializer):
    mode = serializers.RegexField(r"^0?[0-7]{3}$", help_text="Octal, such as 644.")
    recursive = serializers.BooleanField(default=False)


class CompressSerializer(ManySerializer):
    target = serializers.CharField(max_length=4096, required=False, allow_blank=True, default="")
    format = serializers.ChoiceField(choices=["tar.gz", "zip"], default="tar.gz")


class DecompressSerializer(PathSerializer):
    target = serializers.CharField(max_length=4096, required=False, allow_blank=True, default="", help_text="The folder to unpack into.")
    overwrite = serializers.BooleanField(default=False)


class UploadBeginSerializer(PathSerializer):
    size = serializers.IntegerField(min_value=0, max_value=2**50)
    overwrite = serializers.BooleanField(default=False)


class UploadSerializer(StrictSerializer):
    """An unfinished upload: send its next piece from `offset`."""

    id = serializers.CharField()
    path = serializers.CharField()
    size = serializers.IntegerField()
    offset = serializers.IntegerField()
    chunk_bytes = serializers.IntegerField(help_text="A good size for a piece; any up to it is taken.")


class PieceSerializer(StrictSerializer):
    offset = serializers.IntegerField()
    entry = FileEntrySerializer(allow_null=True)


class IdsSerializer(StrictSerializer):
    ids = serializers.ListField(child=serializers.RegexField(r"^[0-9a-f]{24}$"), max_length=1000)

"""The tabs Files and Terminal of a container. Lists and forms come from here; uploads, the editor and terminals are the scripts' with the API."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods

from accounts.access import has
from containers import files, transfers
from containers.access import get_container, rights
from containers.models import Container
from containers.services import execs
from containers.views import frame
from lormas.common.errors import Invalid, Problem
from lormas.common.pages import Toast, answer, person, signed_in

PAGE_ENTRIES = 500
ICONS = {
    **dict.fromkeys(("png", "jpg", "jpeg", "gif", "webp", "avif", "bmp", "ico", "svg"), "file-image"),
    **dict.fromkeys(("zip", "tar", "gz", "tgz", "bz2", "xz", "7z", "rar", "jar"), "file-archive"),
    **dict.fromkeys(("js", "ts", "py", "java", "go", "rs", "c", "h", "cpp", "php", "rb", "lua", "sh", "html", "css", "sql", "json"), "file-code"),
    **dict.fromkeys(("yml", "yaml", "toml", "ini", "cfg", "conf", "properties", "env", "xml"), "file-cog"),
    **dict.fromkeys(("txt", "md", "log", "csv"), "file-text"),
}
UNPACKED = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".jar")


def _icon(entry: dict[str, Any]) -> str:
    kind = entry.get("target_type") or entry["type"]
    if kind == "folder":
        return "folder-symlink" if entry["type"] == "link" else "folder"
    if entry["type"] == "link":
        return "file-symlink"
    return ICONS.get(entry["name"].rpartition(".")[2].lower(), "file")


def _dressed(entry: dict[str, Any], folder: str) -> dict[str, Any]:
    kind = entry.get("target_type") or entry["type"]
    return {
        **entry,
        "path": f"{folder}/{entry['name']}" if folder else entry["name"],
        "icon": _icon(entry),
        "is_folder": kind == "folder",
        "is_file": kind == "file",
        "octal": f"{entry['mode'] & 0o777:03o}",
        "changed": datetime.fromtimestamp(entry["modified_at_unix"], tz=UTC),
        "unpacks": entry["name"].lower().endswith(UNPACKED),
    }


def _trashed(item: dict[str, Any]) -> dict[str, Any]:
    return {**item, "icon": _icon({**item, "name": item["path"]}), "deleted": datetime.fromtimestamp(item["deleted_at_unix"], tz=UTC)}


def _crumbs(path: str) -> list[tuple[str, str]]:
    """(name, path) of each folder on the way."""
    parts = [part for part in path.split("/") if part]
    return [(name, "/".join(parts[: index + 1])) for index, name in enumerate(parts)]


def _shown(container: Container, request: HttpRequest) -> dict[str, Any]:
    """What the list shows: a folder, what was found, or the trash; or the problem that there is."""
    path, search = request.GET.get("path", "").strip("/"), request.GET.get("search", "").strip()
    offset = int(request.GET.get("offset", "0")) if request.GET.get("offset", "0").isdigit() else 0
    found: dict[str, Any] = {"path": path, "crumbs": _crumbs(path), "search": search, "in_content": request.GET.get("content") == "1"}
    try:
        files.check_path(path)
        if request.GET.get("trash") == "1":
            items = files.trash(container)["items"]
            return {**found, "view": "trash", "items": [_trashed(one) for one in items]}
        if search:
            return {**found, "view": "found", **files.search(container, query=search, path=path, content=found["in_content"], limit=200)}
        listed = files.listing(container, path=path, offset=offset, limit=PAGE_ENTRIES)
    except Problem as problem:
        return {**found, "view": "problem", "problem": problem}
    entries = [_dressed(one, listed["path"]) for one in listed["entries"]]
    more = offset + PAGE_ENTRIES if listed["total"] > offset + PAGE_ENTRIES else 0
    before = offset + 1 if offset else 0
    return {**found, **listed, "view": "folder", "entries": entries, "more": more, "before": before, "last": offset + len(entries), "offset": offset}


@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
def files_page(request: HttpRequest, container_id: UUID) -> HttpResponse:
    """The list, as a page or (`X-Fragment`) by itself; forms for who has no script."""
    user = person(request)
    if request.method == "POST":
        return _act(request, get_container(user, container_id, "containers.files"))
    container = get_container(user, container_id)
    context: dict[str, Any] = {**frame(user, container, "files"), "editor_bytes": files.EDITOR_BYTES}
    if not context["may"]["files"]:
        return render(request, "containers/files.html", context)
    if request.GET.get("plain") == "1" and request.GET.get("file"):
        return _plain_editor(request, container, context)
    context.update(_shown(container, request))
    return render(request, "containers/_files_list.html" if request.headers.get("X-Fragment") else "containers/files.html", context)


def _plain_editor(request: HttpRequest, container: Container, context: dict[str, Any]) -> HttpResponse:
    """One text file in a plain form."""
    path = files.check_path(request.GET.get("file", "").strip("/"))
    head, data = transfers.read_small(container, path=path, most_bytes=files.EDITOR_BYTES)
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise Invalid(_("%(path)s is no text: download it.") % {"path": path}) from None
    return render(request, "containers/files_plain.html", {**context, "path": path, "text": text, "etag": head.get("etag", "")})


def _act(request: HttpRequest, container: Container) -> HttpResponse:
    actor, path = person(request).as_actor(), files.check_path(request.POST.get("path", "").strip("/"))
    name = files.check_path(request.POST.get("name", "").strip("/"))
    here = f"{path}/{name}" if path and name else name or path
    match request.POST.get("act", ""):
        case "create":
            kind = "folder" if request.POST.get("type") == "folder" else "file"
            files.create(container, path=here, kind=kind, actor=actor)
            toast = Toast(_("%(name)s is there") % {"name": here})
        case "upload":
            for sent in request.FILES.getlist("files"):
                target = files.check_path(f"{path}/{sent.name}" if path else str(sent.name))
                transfers.write(container, sent.read, actor=actor, path=target, size=sent.size, if_none_match=True)
            toast = Toast(_("Uploaded: %(count)d") % {"count": len(request.FILES.getlist("files"))})
        case "save":
            data = request.POST.get("content", "").replace("\r\n", "\n").encode()
            left = [data]
            transfers.write(
                container, lambda _size: left.pop() if left else b"", actor=actor, path=here, size=len(data), if_match=request.POST.get("etag", "")
            )
            toast, path = Toast(_("Saved")), here.rpartition("/")[0]
        case "delete":
            files.delete(container, paths=[files.check_path(one) for one in request.POST.getlist("paths")], forever=False, actor=actor)
            toast = Toast(_("Moved to the trash"))
        case "restore":
            files.restore(container, ids=request.POST.getlist("ids"), actor=actor)
            toast = Toast(_("Restored"))
        case _:
            raise Invalid(_("There is no such action."))
    address = reverse("containers:files", args=[container.pk])
    return answer(request, toast, to=f"{address}?{urlencode({'path': path})}" if path else address)


@require_GET
@signed_in
def terminal_page(request: HttpRequest, container_id: UUID) -> HttpResponse:
    """Terminals, processes, recordings and the history of commands."""
    user = person(request)
    container = get_container(user, container_id)
    context = {
        **frame(user, container, "terminal"),
        "is_recorded": execs.must_record(container, user),
        "may_edit": "containers.edit" in rights(user, container),
        "may_policy": has(user, "settings.manage"),
        "signals": execs.SIGNALS,
    }
    return render(request, "containers/terminal.html", context)

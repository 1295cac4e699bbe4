"""Files of a container, for every door: what the node is asked, what its refusals mean, what the journal says. The panel keeps none."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import unquote

import msgspec
from django.conf import settings

from agent.protocol import files as ask
from audit.services import Actor, record
from containers import uses
from containers.logs import silent, unavailable
from containers.models import Container
from containers.services.publish import target
from eggs.definition import EggDefinition
from lormas.common import live
from lormas.common.errors import Conflict, FieldError, Forbidden, Invalid, NodeUnavailable, NotFound, PreconditionFailed, Problem, Refused, TooLarge

EDITOR_BYTES: Final = 2 * 1024 * 1024
"""A larger file is downloaded, not opened (B13)."""
LONG_SECONDS: Final = 300.0

_PROBLEMS: Final[dict[str, type[Problem]]] = {
    "bad_path": Invalid,
    "bad_payload": Invalid,
    "not_found": NotFound,
    "no_such_recording": NotFound,
    "denied": Forbidden,
    "exists": Conflict,
    "changed": PreconditionFailed,
    "not_running": Conflict,
    "no_such_container": Conflict,
    "offset_mismatch": Conflict,
    "too_large": TooLarge,
    "archive_too_large": TooLarge,
}
"""What a node's refusal is to a client; all others are 422."""


def problem_of(code: str, detail: str, container: Container) -> Problem:
    kind = _PROBLEMS.get(code, Refused)
    return kind(detail, code=code, extra={"state": container.status} if kind is Conflict else None)


def check_path(path: str) -> str:
    """As it is, or Invalid: before the node is asked, and whatever spelling `..` has (the node refuses it, too; B01)."""
    seen = path
    for _ in range(4):
        if "\0" in seen or ".." in seen.replace("\\", "/").split("/"):
            raise Invalid("A path can't hold '..' or a NUL character.", code="bad_path", errors=[FieldError("path", "No '..', please.", "bad_path")])
        decoded = unquote(seen)
        if decoded == seen:
            break
        seen = decoded
    try:
        size = len(path.encode())
    except UnicodeEncodeError:
        size = 1 << 20
    if size > 4096:
        raise Invalid("The path is too long, or no text.", code="bad_path", errors=[FieldError("path", "At most 4096 bytes.", "bad_path")])
    return path


def scope_of(container: Container) -> dict[str, Any]:
    """What egg and limits say of its files."""
    version = container.egg_version
    denylist = list(EggDefinition.from_json(version.definition).file_denylist) if version is not None else []
    return {"denylist": denylist, "quota_bytes": container.disk_bytes}


def _asked(container: Container, kind: str, fields: dict[str, Any]) -> Any:
    try:
        return msgspec.convert({**scope_of(container), **fields}, ask.FILE_RPCS[kind])
    except msgspec.ValidationError as error:
        raise Invalid(f"This can't be asked: {error}") from error


def question(container: Container, kind: str, *, timeout_seconds: float = 30, **fields: Any) -> dict[str, Any]:
    """Ask; a refusal is raised as the problem that it is."""
    if container.node is None:
        raise NodeUnavailable("This container has no node yet.")
    payload = msgspec.to_builtins(_asked(container, kind, fields))
    try:
        return live.ask_node(container.node.pk, kind, container_id=str(container.pk), payload=payload, timeout_seconds=timeout_seconds)
    except live.NodeOffline:
        raise unavailable(container) from None
    except live.NodeTimeout:
        raise silent(container, timeout_seconds) from None
    except live.NodeRefused as error:
        raise problem_of(error.code, error.detail, container) from None


def noted(container: Container, action: str, *, actor: Actor, **after: Any) -> None:
    """One row of the journal; long lists of paths are cut."""
    uses.used(container.pk, "files")
    cut = {name: (value[:50] if isinstance(value, list) else value) for name, value in after.items()}
    record(f"containers.files_{action}", actor=actor, target=target(container), after=cut)


# ------------------------------------------------------------------------------------------------------------------- reads


def listing(container: Container, *, path: str, offset: int = 0, limit: int = 1000) -> dict[str, Any]:
    return question(container, "files.list", path=path, offset=offset, limit=limit)


def search(container: Container, *, query: str, path: str, content: bool, limit: int) -> dict[str, Any]:
    return question(container, "files.search", query=query, path=path, content=content, limit=limit)


def usage(container: Container) -> dict[str, Any]:
    return question(container, "files.usage")


def trash(container: Container) -> dict[str, Any]:
    return question(container, "files.trash", kept_seconds=settings.TRASH_SECONDS)


# ------------------------------------------------------------------------------------------------------------------ writes


def create(container: Container, *, path: str, kind: str, actor: Actor) -> dict[str, Any]:
    done = question(container, "files.create", path=path, type=kind)
    noted(container, "created", actor=actor, path=path, type=kind)
    return done


def move(container: Container, *, pairs: list[dict[str, str]], overwrite: bool, actor: Actor) -> dict[str, Any]:
    done = question(container, "files.move", pairs=pairs, overwrite=overwrite)
    noted(container, "moved", actor=actor, pairs=pairs, overwrite=overwrite)
    return done


def copy(container: Container, *, pairs: list[dict[str, str]], actor: Actor) -> dict[str, Any]:
    done = question(container, "files.copy", pairs=pairs, timeout_seconds=LONG_SECONDS)
    noted(container, "copied", actor=actor, paths=done.get("copied", []))
    return done


def chmod(container: Container, *, paths: list[str], mode: int, recursive: bool, actor: Actor) -> dict[str, Any]:
    done = question(container, "files.chmod", paths=paths, mode=mode, recursive=recursive)
    noted(container, "chmod", actor=actor, paths=paths, mode=f"{mode:o}", recursive=recursive)
    return done


def delete(container: Container, *, paths: list[str], forever: bool, actor: Actor) -> dict[str, Any]:
    """To the trash, unless for ever."""
    done = question(
        container,
        "files.delete",
        paths=paths,
        forever=forever,
        by=actor.label,
        kept_seconds=settings.TRASH_SECONDS,
        timeout_seconds=LONG_SECONDS,
    )
    noted(container, "deleted", actor=actor, paths=paths, forever=forever)
    return done


def restore(container: Container, *, ids: list[str], actor: Actor) -> dict[str, Any]:
    done = question(container, "files.restore", ids=ids)
    noted(container, "restored", actor=actor, paths=[one["path"] for one in done.get("restored", [])])
    return done


def empty_trash(container: Container, *, ids: list[str], actor: Actor) -> dict[str, Any]:
    done = question(container, "files.empty_trash", ids=ids, timeout_seconds=LONG_SECONDS)
    noted(container, "trash_emptied", actor=actor, gone=done.get("gone", 0))
    return done


def compress(container: Container, *, paths: list[str], name: str, kind: str, actor: Actor) -> dict[str, Any]:
    done = question(container, "files.compress", paths=paths, target=name, format=kind, timeout_seconds=LONG_SECONDS)
    noted(container, "compressed", actor=actor, paths=paths, archive=done.get("path", ""))
    return done


def decompress(container: Container, *, path: str, folder: str, overwrite: bool, actor: Actor) -> dict[str, Any]:
    done = question(container, "files.decompress", path=path, target=folder, overwrite=overwrite, timeout_seconds=LONG_SECONDS)
    noted(container, "decompressed", actor=actor, path=path, target=folder, files=done.get("files", 0))
    return done


def begin_upload(container: Container, *, path: str, size: int, overwrite: bool) -> dict[str, Any]:
    return question(container, "files.upload_begin", path=path, size=size, overwrite=overwrite)


def upload_state(container: Container, upload_id: str) -> dict[str, Any]:
    return question(container, "files.upload_state", id=upload_id)


def cancel_upload(container: Container, upload_id: str) -> None:
    question(container, "files.upload_cancel", id=upload_id)

"""Questions about a container's files. Paths are relative to the root that a person sees (`/` = the container's data folder, else its file system).

Every payload carries what the egg and the owner's limits say, because the panel knows them: `denylist` (gitignore patterns) and `quota_bytes`
(0 = none; the bytes on disk that the data folder may hold). Times are Unix seconds; an `etag` changes whenever content does.
"""

from __future__ import annotations

from typing import Literal

from agent.protocol.parts import Part

EntryType = Literal["file", "folder", "link", "other"]


class FileEntry(Part, frozen=True):
    """One entry of a folder, never followed if it is a link."""

    name: str
    type: EntryType
    size: int = 0
    mode: int = 0
    uid: int = 0
    gid: int = 0
    modified_at_unix: float = 0
    etag: str = ""
    target: str = ""
    """Of a link: what it says."""
    target_type: Literal["", "file", "folder", "other"] = ""
    """Of a link that stays inside: what is there."""


class FileScope(Part, frozen=True, kw_only=True):
    """Base of all payloads."""

    denylist: list[str] = []
    quota_bytes: int = 0


class FilesList(FileScope, frozen=True, kw_only=True):
    """`files.list` -> {"path", "prefix", "whole", "entries": [FileEntry], "total"}: folders first, then by name; at most 1000 from `offset` on."""

    path: str = ""
    offset: int = 0
    limit: int = 1000


class FilesStat(FileScope, frozen=True, kw_only=True):
    """`files.stat` -> {"entry": FileEntry}."""

    path: str


class FilesCreate(FileScope, frozen=True, kw_only=True):
    """`files.create` -> {"entry"}; folders above are made. `exists` if something is there."""

    path: str
    type: Literal["file", "folder"] = "file"


class FilePair(Part, frozen=True):
    """From where to where."""

    source: str
    target: str


class FilesMove(FileScope, frozen=True, kw_only=True):
    """`files.move` -> {"moved": n}. Stops at the first that does not work (its error says which); those before stay moved."""

    pairs: list[FilePair]
    overwrite: bool = False


class FilesCopy(FileScope, frozen=True, kw_only=True):
    """`files.copy` -> {"copied": [path]}. An empty target means a free name beside the source. Links are copied as links."""

    pairs: list[FilePair]


class FilesChmod(FileScope, frozen=True, kw_only=True):
    """`files.chmod` -> {"changed": n}. Of `mode` only 0777 counts. Links are refused, and passed over below a folder."""

    paths: list[str]
    mode: int
    recursive: bool = False


class FilesDelete(FileScope, frozen=True, kw_only=True):
    """`files.delete` -> {"deleted": [{"path", "trash_id"}]}; `trash_id` is empty where it is gone for good."""

    paths: list[str]
    forever: bool = False
    by: str = ""
    kept_seconds: int = 0
    """What has been in the trash for longer goes now (0 = all stays)."""


class TrashList(FileScope, frozen=True, kw_only=True):
    """`files.trash` -> {"items": [{"id", "path", "type", "size", "deleted_at_unix", "by"}]}, newest first."""

    kept_seconds: int = 0


class TrashRestore(FileScope, frozen=True, kw_only=True):
    """`files.restore` -> {"restored": [{"id", "path"}]}; a free name where the old one is taken."""

    ids: list[str]


class TrashEmpty(FileScope, frozen=True, kw_only=True):
    """`files.empty_trash` -> {"gone": n}; no ids = all."""

    ids: list[str] = []


class FilesCompress(FileScope, frozen=True, kw_only=True):
    """`files.compress` -> {"entry"}: one archive of several paths. An empty target means a free name beside the first."""

    paths: list[str]
    target: str = ""
    format: Literal["tar.gz", "zip"] = "tar.gz"


class FilesDecompress(FileScope, frozen=True, kw_only=True):
    """`files.decompress` -> {"files": n, "bytes": n}. All members are looked at before the first is written."""

    path: str
    target: str = ""
    """The folder to unpack into; empty = where the archive is."""
    overwrite: bool = False


class FilesSearch(FileScope, frozen=True, kw_only=True):
    """`files.search` -> {"found": [{"path", "type", "size", "line", "text"}], "complete": bool}. Names; with `content` also lines of text files."""

    query: str
    path: str = ""
    content: bool = False
    limit: int = 200


class FilesUsage(FileScope, frozen=True, kw_only=True):
    """`files.usage` -> {"bytes", "entries", "quota_bytes", "free_bytes"}: what the data folder takes on disk, at most 10 s old."""


class UploadBegin(FileScope, frozen=True, kw_only=True):
    """`files.upload_begin` -> {"id", "offset": 0, "chunk_bytes"}. Refused now if it could never fit."""

    path: str
    size: int
    overwrite: bool = False


class UploadState(FileScope, frozen=True, kw_only=True):
    """`files.upload_state` -> {"id", "path", "size", "offset"}."""

    id: str


class UploadCancel(FileScope, frozen=True, kw_only=True):
    """`files.upload_cancel` -> {}; no-op if it is gone."""

    id: str


FILE_RPCS: dict[str, type[Part]] = {
    "files.list": FilesList,
    "files.stat": FilesStat,
    "files.create": FilesCreate,
    "files.move": FilesMove,
    "files.copy": FilesCopy,
    "files.chmod": FilesChmod,
    "files.delete": FilesDelete,
    "files.trash": TrashList,
    "files.restore": TrashRestore,
    "files.empty_trash": TrashEmpty,
    "files.compress": FilesCompress,
    "files.decompress": FilesDecompress,
    "files.search": FilesSearch,
    "files.usage": FilesUsage,
    "files.upload_begin": UploadBegin,
    "files.upload_state": UploadState,
    "files.upload_cancel": UploadCancel,
}


class FilesRead(FileScope, frozen=True, kw_only=True):
    """Bulk `files.read`. Head: FileEntry as a map, with "archive" true if a folder (or several paths) comes as an archive, whose size is unknown.

    `length` -1: to the end.
    """

    paths: list[str]
    offset: int = 0
    length: int = -1
    archive: Literal["", "tar.gz", "zip"] = ""
    max_bytes: int = 0
    """0 = no limit; a larger file is refused with `too_large`."""


class FilesWrite(FileScope, frozen=True, kw_only=True):
    """Bulk `files.write`: the whole content of a file, atomically. Head {}; end {"entry", "created"}."""

    path: str
    if_match: str = ""
    """Only over a file of this etag (`*`: over any)."""
    if_none_match: bool = False
    """Only if there is none."""
    size: int = -1
    mode: int = 0o644
    parents: bool = True


class FilesUpload(FileScope, frozen=True, kw_only=True):
    """Bulk `files.upload`: a piece of an upload. Head {"offset"}; end {"offset", "entry": FileEntry or null while more is to come}."""

    id: str
    offset: int
    length: int


class RecordingRead(FileScope, frozen=True, kw_only=True):
    """Bulk `recording.read`: a terminal's recording. Head {"size", "name"}."""

    id: str

"""A container's data folder as one archive, out and in again. Bulk kinds `backup.read` and `backup.write` of `agent.protocol.bulk`.

The archive is a tar.gz of all that is in the folder but Lormas' own hidden one; what the egg keeps from the file manager is in it too. Owners,
modes (0777 of them) and times are kept, links stay links; sockets, pipes and devices are left out.
"""

from __future__ import annotations

from agent.protocol.parts import Part


class BackupRead(Part, frozen=True, kw_only=True):
    """`backup.read`. Head: {"content_bytes", "entries"} as counted before; further heads tell {"done_bytes"} as it goes on.

    End: {"files", "content_bytes", "size_bytes", "sha256", "left_out"}; the sum is of the archive's bytes. Refused with `no_data_folder` where there
    is none.
    """

    ignore: list[str] = []
    """Patterns as in a .gitignore."""


class BackupWrite(Part, frozen=True, kw_only=True):
    """`backup.write`: put the archive that follows in place of all that is in the data folder. End: {"files", "content_bytes"}.

    It is unpacked beside and takes its place only when all of it has come, is sound, and has this checksum; before that the old files are untouched,
    whatever happens. Refused: `checksum_mismatch`, `unsafe_archive`, `quota_exceeded`, `disk_full`, `no_data_folder`, `running`.
    """

    size_bytes: int
    sha256: str
    quota_bytes: int = 0

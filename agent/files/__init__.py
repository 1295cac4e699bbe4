"""A container's own files, reached from outside of it without ever leaving its folder.

- `beneath.Beneath`: one folder on this machine; reading, atomic writing, folders, ownership. Links never lead out (SECURITY B01-B06, B15).
- `denylist.Denylist`: an egg's `file_denylist`, pure.

What a runtime offers of a container's data folder is `agent.runtimes.base.DataFolder`; the local ones are built on `Beneath`.
"""

from __future__ import annotations

from agent.files.beneath import Beneath, Content, FileRefused, clean_relative
from agent.files.denylist import Denylist

__all__ = ["Beneath", "Content", "Denylist", "FileRefused", "clean_relative"]

"""Writes: one act, one function; pages, API and commands all call these."""

from eggs.services.approving import approve_version, withdraw_approval
from eggs.services.importing import BUNDLED, FileReport, ImportResult, Taken, import_bundled, import_egg, import_files, store_version
from eggs.services.keeping import delete_egg, label_egg, use_version

__all__ = [
    "BUNDLED",
    "FileReport",
    "ImportResult",
    "Taken",
    "approve_version",
    "delete_egg",
    "import_bundled",
    "import_egg",
    "import_files",
    "label_egg",
    "store_version",
    "use_version",
    "withdraw_approval",
]

"""Where archives of backups are kept: one small interface, a folder of the panel and S3-compatible storage behind it (through fsspec)."""

from containers.stores.base import Draft, Store, StoreFault
from containers.stores.kinds import store_of

__all__ = ["Draft", "Store", "StoreFault", "store_of"]

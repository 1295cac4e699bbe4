"""S3-compatible storage through s3fs. What is being written is a multipart upload: it can't be seen before it is completed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from containers.stores.base import PIECE_BYTES, StoreFault

PART_BYTES = 16 * 1024 * 1024
"""S3 takes 10,000 parts: archives up to 160 GB."""
UNREACHABLE = ("EndpointConnectionError", "ConnectTimeoutError", "ReadTimeoutError", "ConnectionClosedError", "ClientConnectorError")
CONNECT_SECONDS = 10
READ_SECONDS = 60


@contextmanager
def _faults() -> Iterator[None]:
    try:
        yield
    except StoreFault:
        raise
    except FileNotFoundError as error:
        raise StoreFault("There is no such bucket, or the archive is gone from it.") from error
    except PermissionError as error:
        raise StoreFault(f"The storage refuses this access: {str(error)[:160]}") from error
    except (ConnectionError, TimeoutError) as error:
        raise StoreFault("The storage does not answer at its endpoint.") from error
    except Exception as error:  # botocore's and aiohttp's many kinds: the same sentence for all, and what they say of it
        if type(error).__name__ in UNREACHABLE:
            raise StoreFault("The storage does not answer at its endpoint.") from error
        raise StoreFault(f"The storage does not do it: {type(error).__name__}: {str(error)[:160]}") from error


class S3Draft:
    """See `Draft`."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self._is_over = False

    def write(self, data: bytes) -> None:
        with _faults():
            self._file.write(data)

    def commit(self) -> None:
        with _faults():
            self._file.close()
            self._file.commit()
            self._is_over = True

    def discard(self) -> None:
        if self._is_over:
            return
        self._is_over = True
        with suppress(Exception):  # what can't be ended now is ended by `remove`
            self._file.discard()
        self._file.closed = True  # or its end would upload what is left


class S3Store:
    """See `Store`. Keys are below `prefix` of the bucket."""

    def __init__(self, *, bucket: str, prefix: str, endpoint: str, region: str, access_key: str, secret_key: str) -> None:
        import s3fs

        self._bucket = bucket
        self._prefix = prefix.strip("/")
        where = {name: value for name, value in (("endpoint_url", endpoint), ("region_name", region)) if value}
        with _faults():
            self._fs: Any = s3fs.S3FileSystem(
                key=access_key,
                secret=secret_key,
                client_kwargs=where,
                config_kwargs={"connect_timeout": CONNECT_SECONDS, "read_timeout": READ_SECONDS, "retries": {"max_attempts": 3}},
                use_listings_cache=False,
                skip_instance_cache=True,
            )

    def _key(self, key: str) -> str:
        return f"{self._prefix}/{key}" if self._prefix else key

    def _path(self, key: str) -> str:
        return f"{self._bucket}/{self._key(key)}"

    def begin(self, key: str) -> S3Draft:
        with _faults():
            return S3Draft(self._fs.open(self._path(key), "wb", block_size=PART_BYTES, autocommit=False))

    def read(self, key: str, *, offset: int = 0, length: int = -1) -> Iterator[bytes]:
        with _faults():
            file = self._fs.open(self._path(key), "rb", block_size=8 * PIECE_BYTES, cache_type="readahead")
        try:
            left = length if length >= 0 else 1 << 62
            with _faults():
                file.seek(offset)
            while left > 0:
                with _faults():
                    data = file.read(min(PIECE_BYTES, left))
                if not data:
                    return
                left -= len(data)
                yield data
        finally:
            file.close()

    def size(self, key: str) -> int | None:
        try:
            with _faults():
                return int(self._fs.info(self._path(key))["size"])
        except StoreFault as fault:
            if isinstance(fault.__cause__, FileNotFoundError):
                return None
            raise

    def remove(self, key: str) -> None:
        with _faults():
            with suppress(FileNotFoundError):
                self._fs.rm_file(self._path(key))
            found = self._fs.call_s3("list_multipart_uploads", Bucket=self._bucket, Prefix=self._key(key))
            for upload in found.get("Uploads") or []:
                if upload["Key"] == self._key(key):
                    self._fs.call_s3("abort_multipart_upload", Bucket=self._bucket, Key=upload["Key"], UploadId=upload["UploadId"])

"""S3-compatible buckets, by django-storages: ours, where hosted works may be, and sellers' own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from botocore.config import Config  # type: ignore[import-untyped]
from botocore.exceptions import (  # type: ignore[import-untyped]
    BotoCoreError,
    ClientError,
)
from django.conf import settings
from django.core.files import File
from storages.backends.s3 import S3Storage  # type: ignore[import-untyped]

_READ = 256 * 1024

# What a conditional put answers where the condition does not hold; the last where what it was to
# replace is gone.
_CONDITION_FAILED = frozenset({"PreconditionFailed", "ConditionalRequestConflict", "NoSuchKey"})


@dataclass(frozen=True)
class Bucket:
    """A bucket, and with what it is signed for. Without keys, the machine's own role is used."""

    name: str
    # Empty: Amazon's own, by the region.
    endpoint: str = ""
    region: str = ""
    # What stands before every key, for example "licet/".
    prefix: str = ""
    access_key: str = ""
    secret_key: str = field(default="", repr=False)

    def put(self, key: str, file: Path) -> None:
        """Keep a file's bytes; a reader sees all of them or none. Raises OSError."""
        with file.open("rb") as stream:
            try:
                self._storage.save(self.prefix + key, File(stream))
            except (BotoCoreError, ClientError) as error:
                raise OSError(f"the bucket {self.name} did not take {key}: {error}") from error

    def length(self, key: str) -> int | None:
        """How many bytes are kept under a key; None where nothing is. Raises OSError."""
        try:
            answer = self._client.head_object(Bucket=self.name, Key=self.prefix + key)
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] == 404:
                return None
            raise OSError(f"the bucket {self.name} did not answer: {error}") from error
        except BotoCoreError as error:
            raise OSError(f"the bucket {self.name} did not answer: {error}") from error
        return int(answer["ContentLength"])

    def chunks(self, key: str, start: int, end: int) -> Iterator[bytes]:
        """Read bytes `start` to `end`. Raises OSError where they are not all there."""
        span = f"bytes={start}-{end - 1}"
        try:
            answer = self._client.get_object(Bucket=self.name, Key=self.prefix + key, Range=span)
            for chunk in answer["Body"].iter_chunks(_READ):
                start += len(chunk)
                yield chunk
        except (BotoCoreError, ClientError) as error:
            raise OSError(f"the bucket {self.name} did not give {key}: {error}") from error
        if start != end:
            raise OSError(f"{key} ended early")

    def get(self, key: str) -> tuple[bytes, str] | None:
        """Read something small, and the tag of this state of it. Raises OSError."""
        try:
            answer = self._client.get_object(Bucket=self.name, Key=self.prefix + key)
            return answer["Body"].read(), answer["ETag"]
        except ClientError as error:
            if error.response["Error"]["Code"] == "NoSuchKey":
                return None
            raise OSError(f"the bucket {self.name} did not give {key}: {error}") from error
        except BotoCoreError as error:
            raise OSError(f"the bucket {self.name} did not give {key}: {error}") from error

    def put_if(self, key: str, data: bytes, tag: str | None) -> bool:
        """Keep these bytes only where the state with `tag` is (None: nothing). Raises OSError.

        False where something else is, or somebody else is writing.
        """
        condition = {"IfNoneMatch": "*"} if tag is None else {"IfMatch": tag}
        try:
            self._client.put_object(Bucket=self.name, Key=self.prefix + key, Body=data, **condition)
        except ClientError as error:
            if error.response["Error"]["Code"] in _CONDITION_FAILED:
                return False
            raise OSError(f"the bucket {self.name} did not take {key}: {error}") from error
        except BotoCoreError as error:
            raise OSError(f"the bucket {self.name} did not take {key}: {error}") from error
        return True

    def keys(self, prefix: str) -> Iterator[str]:
        """List the keys that begin with `prefix`, without the bucket's own. Raises OSError."""
        pages = self._client.get_paginator("list_objects_v2")
        try:
            for page in pages.paginate(Bucket=self.name, Prefix=self.prefix + prefix):
                for each in page.get("Contents", []):
                    yield each["Key"].removeprefix(self.prefix)
        except (BotoCoreError, ClientError) as error:
            raise OSError(f"the bucket {self.name} was not listed: {error}") from error

    def signed_url(self, key: str, seconds: int) -> str:
        """An address at which anybody may GET a key's bytes for a while. Asks nobody."""
        params = {"Bucket": self.name, "Key": self.prefix + key}
        url: str = self._client.generate_presigned_url("get_object", params, ExpiresIn=seconds)
        return url

    @cached_property
    def _storage(self) -> S3Storage:
        return S3Storage(
            bucket_name=self.name,
            endpoint_url=self.endpoint or None,
            region_name=self.region or None,
            access_key=self.access_key or None,
            secret_key=self.secret_key or None,
            file_overwrite=True,
            client_config=Config(
                signature_version="s3v4",
                # Servers of one's own rarely have a name for each bucket.
                s3={"addressing_style": "path" if self.endpoint else "auto"},
                connect_timeout=5,
                read_timeout=30,
                retries={"max_attempts": 3, "mode": "standard"},
                # As many as the delivery process serves at a time.
                max_pool_connections=64,
            ),
        )

    # One for all threads: clients, unlike connections of the storage, may be shared.
    @cached_property
    def _client(self) -> Any:
        return self._storage.connection.meta.client


def hosted() -> Bucket:
    """The bucket of the settings."""
    return _hosted(**settings.STORAGE_BUCKET)


# One for all: a client takes a tenth of a second to make.
@lru_cache(maxsize=4)
def _hosted(**named: str) -> Bucket:
    return Bucket(**named)

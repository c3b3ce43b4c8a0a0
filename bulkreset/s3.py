"""Access to S3 with boto3's credentials: read, write and list objects. Every failure is raised as BucketError."""

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import boto3
import urllib3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, ProfileNotFound

from bulkreset.cognito.session import aws_session
from bulkreset.errors import TargetError, missing_extra
from bulkreset.files import ReadStream
from bulkreset.job import S3
from bulkreset.version import __version__

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

BLOCK = 1 << 20  # bytes of one ranged read, so no connection stays open while rows are sent
DELETED_AT_ONCE = 1000

# Retries are safe: reads and lists change nothing, and every put has a unique key or a condition.
_CONFIG: dict[str, Any] = {
    "connect_timeout": 5.0,
    "read_timeout": 30.0,
    "max_pool_connections": 32,
    "tcp_keepalive": True,
    "user_agent_extra": f"bulkreset/{__version__}",
}
MOST_EMPTY_PAGES = 1000  # of a list of objects, in a row
_MISSING = {"404", "NoSuchKey", "NoSuchBucket", "NoSuchVersion", "NotFound"}
_DENIED = {"403", "401", "AccessDenied", "AccessDeniedException", "Forbidden", "AllAccessDisabled"}
_CHANGED = {"412", "PreconditionFailed", "ConditionalRequestConflict", "409"}
_EXPIRED = {"ExpiredToken", "InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "RequestTimeTooSkewed"}


class BucketError(Exception):
    """An S3 call failed or got no answer. `code` is the error code of S3, or the name of the exception class.

    `is_passing`: a retry may succeed, because the network or the service failed.
    """

    def __init__(self, uri: str, action: str, code: str) -> None:
        super().__init__(f"{action} of {uri}: {code}")
        self.uri = uri
        self.action = action
        self.code = code
        self.is_missing = code in _MISSING
        self.is_changed = code in _CHANGED  # the object does not match the condition of the request
        self.is_denied = code in _DENIED | _EXPIRED | {"NoCredentialsError"}
        self.is_passing = not (self.is_missing or self.is_changed or self.is_denied)

    @property
    def advice(self) -> str:
        """Return the next step for the user."""
        if self.code == "NoCredentialsError":
            return "Pass a profile, set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or sign in with aws sso login."
        if self.code in _EXPIRED:
            return "Sign in again, or check the keys and this machine's clock."
        if self.is_denied:
            bucket, key = split(self.uri)
            arn = f"arn:aws:s3:::{bucket}" + (f"/{key}" if self.action != "s3:ListBucket" else "")
            return f"Allow {self.action} on {arn}."
        if self.is_missing:
            return f"Check the bucket and the key; where {self.action} is denied S3 may say the same."
        return "Check the network and the bucket's Region."


@dataclass(frozen=True, slots=True)
class Object:
    """An object as it was when listed or read. `size` is in bytes; `version` is "" in a bucket without versioning."""

    uri: str
    size: int
    etag: str
    version: str = ""
    modified: float = field(default=0.0, compare=False)  # Unix time; listings and HEAD may differ in their precision

    @property
    def keys(self) -> Any:  # noqa: ANN401  (what boto3 takes)
        """Return the arguments of boto3 that name this object."""
        bucket, key = split(self.uri)
        return {"Bucket": bucket, "Key": key} | ({"VersionId": self.version} if self.version else {})


def split(uri: str) -> tuple[str, str]:
    """Return the bucket and the key of an s3:// address."""
    bucket, _, key = uri.removeprefix(S3).partition("/")
    return bucket, key


@dataclass(frozen=True)
class Bucket:
    """Access to S3 with one profile, or with boto3's default credential chain if `profile` is None. Thread-safe.

    New objects are encrypted with `sse` ("AES256" or "aws:kms") and `kms_key_id`; by default as the bucket says.
    """

    profile: str | None = None
    region: str | None = None
    tries: int = 5
    sse: str | None = None
    kms_key_id: str | None = None

    @property
    def _encryption(self) -> dict[str, Any]:
        named = {"ServerSideEncryption": self.sse, "SSEKMSKeyId": self.kms_key_id}
        return {name: value for name, value in named.items() if value}

    @cached_property
    def client(self) -> "S3Client":
        """Return the client. Raises TargetError if the profile or the configuration cannot be used."""
        try:
            session = aws_session(self.profile, self.region)
            config = Config(**_CONFIG | {"retries": {"mode": "standard", "total_max_attempts": self.tries}})
            return session.client("s3", config=config)
        except ProfileNotFound:
            raise TargetError(
                f"There is no AWS profile {self.profile!r}.", "Check the job file and your AWS configuration files."
            ) from None
        except (BotoCoreError, ValueError) as error:
            raise TargetError(f"No client of S3 can be made: {error}.", "Check the AWS configuration.") from None

    def head(self, uri: str) -> Object:
        """Return the current state of an object. Raises BucketError."""
        bucket, key = split(uri)
        with translate_errors(uri, "s3:GetObject"):
            found = self.client.head_object(Bucket=bucket, Key=key)
        version = found.get("VersionId", "")
        version = "" if version == "null" else version
        return Object(uri, found["ContentLength"], found["ETag"].strip('"'), version, found["LastModified"].timestamp())

    def objects(self, uri: str, delimiter: str = "", folders: list[str] | None = None) -> Iterator[Object]:
        """Yield the objects whose addresses begin with `uri`, in order. Raises BucketError.

        With a delimiter, only those without one after the prefix; the others' prefixes are added to `folders`.
        """
        bucket, prefix = split(uri)
        with translate_errors(uri, "s3:ListBucket"):
            pages = self.client.get_paginator("list_objects_v2").paginate(
                Bucket=bucket, Prefix=prefix, Delimiter=delimiter
            )
            empty = 0
            for page in pages:
                empty = 0 if page.get("Contents") or page.get("CommonPrefixes") else empty + 1
                if empty > MOST_EMPTY_PAGES:
                    raise BucketError(uri, "s3:ListBucket", "a list without an end")
                for found in page.get("Contents", ()):
                    yield Object(f"{S3}{bucket}/{found['Key']}", found["Size"], found["ETag"].strip('"'))
                if folders is not None:
                    folders += (f"{S3}{bucket}/{found['Prefix']}" for found in page.get("CommonPrefixes", ()))

    def open(self, found: Object) -> io.BufferedReader:
        """Return a stream of the content, read in ranges.

        A read raises BucketError, also if the object has changed since `found`. Raises JobError without the extra `s3`.
        """
        return io.BufferedReader(_Ranges(self, found), 1 << 16)

    def get(self, uri: str, most: int | None = None) -> tuple[bytes, str]:
        """Return content and ETag of a small object. Raises BucketError, also if it has more than `most` bytes."""
        bucket, key = split(uri)
        with translate_errors(uri, "s3:GetObject"):
            found = self.client.get_object(Bucket=bucket, Key=key)
            body = found["Body"].read(None if most is None else most + 1)
        if most is not None and len(body) > most:
            raise BucketError(uri, "s3:GetObject", f"more than {most:,} bytes")
        return body, found["ETag"]

    def put(self, uri: str, body: bytes | io.BufferedReader, *, match: str | None = None) -> str:
        """Write an object and return its new ETag. Raises BucketError.

        With `match`, replace only an object with that ETag; with "", write only if no object exists.
        """
        bucket, key = split(uri)
        condition: dict[str, Any] = {} if match is None else {"IfMatch": match} if match else {"IfNoneMatch": "*"}
        with translate_errors(uri, "s3:PutObject"):
            put: Any = self.client.put_object
            answer = put(Bucket=bucket, Key=key, Body=body, **condition, **self._encryption)
        return str(answer["ETag"])

    def upload(self, uri: str, path: str) -> None:
        """Upload a file as an object, in parts if it is large. Raises BucketError."""
        bucket, key = split(uri)
        with translate_errors(uri, "s3:PutObject"):
            self.client.upload_file(path, bucket, key, ExtraArgs=self._encryption)

    def download(self, uri: str, path: str) -> None:
        """Download an object to a file. Raises BucketError."""
        bucket, key = split(uri)
        with translate_errors(uri, "s3:GetObject"):
            self.client.download_file(bucket, key, path)

    def delete(self, uris: Sequence[str], *, match: str = "") -> None:
        """Delete objects of one bucket. With `match`, delete only the first if its ETag matches. Raises BucketError."""
        if match:
            bucket, key = split(uris[0])
            with translate_errors(uris[0], "s3:DeleteObject"):
                self.client.delete_object(Bucket=bucket, Key=key, IfMatch=match)
            return
        for start in range(0, len(uris), DELETED_AT_ONCE):
            some = uris[start : start + DELETED_AT_ONCE]
            with translate_errors(some[0], "s3:DeleteObject"):
                keys = [{"Key": split(uri)[1]} for uri in some]
                delete: Any = self.client.delete_objects
                answer = delete(Bucket=split(some[0])[0], Delete={"Objects": keys, "Quiet": True})
            for failed in answer.get("Errors", ()):
                raise BucketError(some[0], "s3:DeleteObject", failed.get("Code", "an error"))

    def copy(self, found: Object, to: str) -> None:
        """Copy an object of any size within S3. Raises BucketError, also if its ETag is not that of `found`."""
        target, name = split(to)
        extra = {"CopySourceIfMatch": f'"{found.etag}"', **self._encryption}
        with translate_errors(to, "s3:PutObject"):
            self.client.copy(found.keys, target, name, ExtraArgs=extra)

    def tag(self, found: Object, name: str, value: str) -> None:
        """Set one tag of an object and keep its other tags. Raises BucketError."""
        with translate_errors(found.uri, "s3:PutObjectTagging"):
            known = [tag for tag in self.client.get_object_tagging(**found.keys)["TagSet"] if tag["Key"] != name]
            self.client.put_object_tagging(**found.keys, Tagging={"TagSet": [*known, {"Key": name, "Value": value}]})


@contextmanager
def translate_errors(uri: str, action: str) -> Iterator[None]:
    """Raise BucketError for every error that boto3 raises in the block."""
    try:
        yield
    except (OSError, ClientError, BotoCoreError, urllib3.exceptions.HTTPError, boto3.exceptions.Boto3Error) as error:
        raise BucketError(uri, action, _code_of(error)) from None


def _code_of(error: Exception) -> str:
    found = getattr(error, "backend_error", error)  # smart_open wraps the error of S3 in an OSError
    if isinstance(found, ClientError):
        return str(found.response.get("Error", {}).get("Code") or "an error")
    code = None
    if isinstance(error, boto3.exceptions.Boto3Error):  # from transfers, which give the code only in the message
        code = next((code for code in _DENIED | _MISSING | _CHANGED if f"({code})" in str(error)), None)
    return code or type(error).__name__


class _Ranges(ReadStream):
    """The content of an object. Requests name its ETag, and its version if the bucket has versions."""

    def __init__(self, bucket: Bucket, found: Object) -> None:
        if not find_spec("smart_open"):
            raise missing_extra("Reading inputs from S3", "s3")
        from smart_open import s3  # noqa: PLC0415  (an extra)

        name, key = split(found.uri)
        self._uri = found.uri
        self._action = "s3:GetObjectVersion" if found.version else "s3:GetObject"
        self._stream = s3.open(
            name,
            key,
            "rb",
            version_id=found.version or None,
            buffer_size=BLOCK,
            range_chunk_size=BLOCK,
            defer_seek=True,
            client=bucket.client,
            client_kwargs={"S3.Client.get_object": {"IfMatch": found.etag}},
        )

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401  (any writable buffer)
        with translate_errors(self._uri, self._action):
            return int(self._stream.readinto(buffer))

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        with translate_errors(self._uri, self._action):
            return super().seek(offset, whence)

    def tell(self) -> int:
        return int(self._stream.tell())

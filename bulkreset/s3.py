"""S3: objects read, written and listed through boto3's own credentials; what it answers is told as one kind of error."""

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
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, ProfileNotFound

from bulkreset.cognito.session import aws_session
from bulkreset.errors import JobError, TargetError
from bulkreset.job import S3
from bulkreset.version import __version__

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

BLOCK = 1 << 20  # bytes of one ranged read: no connection is held open while rows are sent
DELETED_AT_ONCE = 1000

# Reading and listing change nothing, and what is put is put under a name of its own or on a condition.
_CONFIG: dict[str, Any] = {
    "retries": {"mode": "standard", "total_max_attempts": 5},
    "connect_timeout": 5.0,
    "read_timeout": 30.0,
    "max_pool_connections": 32,
    "tcp_keepalive": True,
    "user_agent_extra": f"bulkreset/{__version__}",
}
_MISSING = {"404", "NoSuchKey", "NoSuchBucket", "NoSuchVersion", "NotFound"}
_DENIED = {"403", "401", "AccessDenied", "AccessDeniedException", "Forbidden", "AllAccessDisabled"}
_CHANGED = {"412", "PreconditionFailed", "ConditionalRequestConflict", "409"}
_EXPIRED = {"ExpiredToken", "InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "RequestTimeTooSkewed"}


class BucketError(Exception):
    """What S3 answered, or that it did not. `code` is its word, or the kind of the fault."""

    def __init__(self, uri: str, action: str, code: str) -> None:
        super().__init__(f"{action} of {uri}: {code}")
        self.uri = uri
        self.action = action
        self.code = code

    @property
    def is_missing(self) -> bool:
        """There is no such object."""
        return self.code in _MISSING

    @property
    def is_changed(self) -> bool:
        """It is not the object that the condition asks for."""
        return self.code in _CHANGED

    @property
    def is_denied(self) -> bool:
        """The caller may not, or is not known."""
        return self.code in _DENIED or self.code in _EXPIRED or self.code == "NoCredentialsError"

    @property
    def is_passing(self) -> bool:
        """It may succeed later: the network, or the service's own fault."""
        return not (self.is_missing or self.is_changed or self.is_denied)

    @property
    def advice(self) -> str:
        """What to do next."""
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
    """An object as it was met. `version` is "" in a bucket that keeps none."""

    uri: str
    size: int
    etag: str
    version: str = ""


@dataclass(frozen=True, slots=True)
class Sealing:
    """How S3 is to encrypt what is put: `sse` is "AES256" or "aws:kms", "" as the bucket has it."""

    sse: str = ""
    kms_key_id: str = ""

    @property
    def asked(self) -> dict[str, Any]:
        """The same in the API's words."""
        named = {"ServerSideEncryption": self.sse, "SSEKMSKeyId": self.kms_key_id}
        return {name: value for name, value in named.items() if value}


def split(uri: str) -> tuple[str, str]:
    """Bucket and key of an address."""
    bucket, _, key = uri.removeprefix(S3).partition("/")
    return bucket, key


@dataclass(frozen=True)
class Bucket:
    """S3 as one profile reaches it; boto3's own chain where none is named. Used by many threads."""

    profile: str | None = None
    region: str | None = None
    tries: int = 5
    sealing: Sealing = field(default_factory=Sealing)

    @cached_property
    def client(self) -> "S3Client":
        """The client. Raises TargetError where profile or configuration cannot be used."""
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
        """What an object is now. Raises BucketError."""
        bucket, key = split(uri)
        with translate_errors(uri, "s3:GetObject"):
            found = self.client.head_object(Bucket=bucket, Key=key)
        version = found.get("VersionId", "")
        return Object(uri, found["ContentLength"], found["ETag"].strip('"'), "" if version == "null" else version)

    def objects(self, uri: str, delimiter: str = "") -> Iterator[Object]:
        """The objects whose addresses begin with `uri`, in order; with a delimiter only those that have none behind it."""
        bucket, prefix = split(uri)
        with translate_errors(uri, "s3:ListBucket"):
            pages = self.client.get_paginator("list_objects_v2").paginate(
                Bucket=bucket, Prefix=prefix, Delimiter=delimiter
            )
            for page in pages:
                for found in page.get("Contents", ()):
                    yield Object(f"{S3}{bucket}/{found['Key']}", found["Size"], found["ETag"].strip('"'))

    def open(self, found: Object) -> io.BufferedReader:
        """An object's content, read in ranges; of another one than was met nothing is given. Raises BucketError at a read."""
        return io.BufferedReader(_Ranges(self, found), 1 << 16)

    def get(self, uri: str, most: int | None = None) -> tuple[bytes, str]:
        """A small object's content, and its ETag. Raises BucketError, also where it has more than `most` bytes."""
        bucket, key = split(uri)
        with translate_errors(uri, "s3:GetObject"):
            found = self.client.get_object(Bucket=bucket, Key=key)
            body = found["Body"].read(None if most is None else most + 1)
        if most is not None and len(body) > most:
            raise BucketError(uri, "s3:GetObject", f"more than {most:,} bytes")
        return body, found["ETag"]

    def put(self, uri: str, body: bytes | io.BufferedReader, *, match: str | None = None) -> str:
        """Write an object; its new ETag. With `match` only over that ETag, with "" only where there is none. Raises BucketError."""
        bucket, key = split(uri)
        condition: dict[str, Any] = {} if match is None else {"IfMatch": match} if match else {"IfNoneMatch": "*"}
        with translate_errors(uri, "s3:PutObject"):
            put: Any = self.client.put_object
            answer = put(Bucket=bucket, Key=key, Body=body, **condition, **self.sealing.asked)
        return str(answer["ETag"])

    def upload(self, uri: str, path: str) -> None:
        """Write a file as an object, in parts where it is large. Raises BucketError."""
        bucket, key = split(uri)
        with translate_errors(uri, "s3:PutObject"):
            self.client.upload_file(path, bucket, key, ExtraArgs=self.sealing.asked)

    def download(self, uri: str, path: str) -> None:
        """Write an object to a file. Raises BucketError."""
        bucket, key = split(uri)
        with translate_errors(uri, "s3:GetObject"):
            self.client.download_file(bucket, key, path)

    def delete(self, uris: Sequence[str], *, match: str = "") -> None:
        """Delete objects of one bucket; with `match` only over that ETag. Raises BucketError."""
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
        """Copy an object, of any size, within S3. Raises BucketError."""
        bucket, key = split(found.uri)
        target, name = split(to)
        source: Any = {"Bucket": bucket, "Key": key} | ({"VersionId": found.version} if found.version else {})
        with translate_errors(to, "s3:PutObject"):
            self.client.copy(
                source, target, name, ExtraArgs={"CopySourceIfMatch": f'"{found.etag}"', **self.sealing.asked}
            )

    def tag(self, found: Object, name: str, value: str) -> None:
        """Add a tag to an object, beside those it has. Raises BucketError."""
        bucket, key = split(found.uri)
        at: Any = {"Bucket": bucket, "Key": key} | ({"VersionId": found.version} if found.version else {})
        with translate_errors(found.uri, "s3:PutObjectTagging"):
            known = [tag for tag in self.client.get_object_tagging(**at)["TagSet"] if tag["Key"] != name]
            self.client.put_object_tagging(**at, Tagging={"TagSet": [*known, {"Key": name, "Value": value}]})


@contextmanager
def translate_errors(uri: str, action: str) -> Iterator[None]:
    """Tell whatever boto3 raises as BucketError."""
    try:
        yield
    except ClientError as error:
        raise BucketError(uri, action, _code_of(error)) from None
    except OSError as error:
        # smart_open wraps what S3 answered in one.
        inner = getattr(error, "backend_error", None)
        code = _code_of(inner) if isinstance(inner, ClientError) else type(error).__name__
        raise BucketError(uri, action, code) from None
    except NoCredentialsError:
        raise BucketError(uri, action, "NoCredentialsError") from None
    except (BotoCoreError, urllib3.exceptions.HTTPError) as error:
        raise BucketError(uri, action, type(error).__name__) from None
    except boto3.exceptions.Boto3Error as error:  # of its transfers, which tell the code in their words alone
        found = next((code for code in _DENIED | _MISSING | _CHANGED if f"({code})" in str(error)), None)
        raise BucketError(uri, action, found or type(error).__name__) from None


def _code_of(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code") or "an error")


class _Ranges(io.RawIOBase):
    """An object's content, asked for by its version, or by its ETag where there are no versions."""

    def __init__(self, bucket: Bucket, found: Object) -> None:
        if not find_spec("smart_open"):
            raise JobError(
                "Reading inputs from S3 is not installed.",
                "Install bulkreset with its extra: pip install 'bulkreset[s3]'.",
            )
        from smart_open import s3  # noqa: PLC0415  (an extra)

        name, key = split(found.uri)
        self._uri = found.uri
        self._action = "s3:GetObjectVersion" if found.version else "s3:GetObject"
        self._stream: Any = s3.open(
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

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401  (any writable buffer)
        """Fill the buffer, or some of it."""
        with translate_errors(self._uri, self._action):
            return int(self._stream.readinto(buffer))

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place."""
        with translate_errors(self._uri, self._action):
            return int(self._stream.seek(offset, whence))

    def tell(self) -> int:
        """Where it stands."""
        return int(self._stream.tell())

    def close(self) -> None:
        self._stream.close()
        super().close()

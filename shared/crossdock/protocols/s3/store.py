"""A bucket: puts objects there whole or in parts, and believes nothing without its checksum."""

import re
import threading
from collections.abc import Iterator
from concurrent.futures import wait
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any
from urllib.parse import urlencode

from botocore.exceptions import BotoCoreError

from crossdock.config.targets import S3Target
from crossdock.dicom.errors import TlsMisconfigured
from crossdock.errors import ErrorKind, SecretUnavailable
from crossdock.pace import UNLIMITED, Pace
from crossdock.protocols.failures import InstanceRefused, Interrupted
from crossdock.protocols.payload import Payload
from crossdock.protocols.s3.answers import no_store
from crossdock.protocols.s3.body import PART_SIZE, Body, part_size, read_body
from crossdock.protocols.s3.errors import StoreFailed
from crossdock.protocols.s3.failures import LibraryError, chain, is_closed, translated, untrusted
from crossdock.protocols.s3.transport import Transport, make_client
from crossdock.protocols.workers import Workers


Answer = dict[str, Any]
"""What a store answered, as botocore has it."""

_MD5 = re.compile(r"[0-9a-f]{32}")
_PATIENCE = (0.25, 1.0)  # seconds before a part is tried again: a whole object would begin anew
_DICOM = "application/dicom"
_NOT_ENCRYPTED = "not encrypted"


class Store:
    """The bucket of a target. Its methods may be called from several threads.

    All of them raise ``StoreFailed`` where the store is the problem, and ``InstanceRefused`` where
    the one object is.
    """

    def __init__(self, target: S3Target, pace: Pace = UNLIMITED) -> None:
        self._target = target
        self._pace = pace
        self._workers = Workers(target.transfers, "s3-part")
        self._asked_for = _asked_for(target)
        with self._translating():
            self._transport = Transport(target)
            self._client = make_client(target, self._transport)

    def close(self) -> None:
        """Close the connections that are idle. Closing twice is fine."""
        self._workers.close()
        self._transport.close()

    def upload(self, key: str, payload: Payload, stopped: threading.Event) -> None:
        """Put an instance there; it is visible once all of it is there and right.

        Raises:
            SpoolUnreadable: the spool's file cannot be read.
            Interrupted: ``stopped`` was set.
        """
        if payload.size <= PART_SIZE:
            self.put(key, read_body(payload, 0, payload.size, stopped, self._pace), _DICOM)
        else:
            self._upload_parts(key, payload, stopped)

    def put(self, key: str, body: Body, content_type: str) -> Answer:
        """Put a small object there, in place of what has its key."""
        answer = self._ask_with(
            "put_object", body, Key=key, ContentType=content_type, **self._asked_for
        )
        try:
            self._verify(answer, body)
            self._verify_encryption(answer)
        except (InstanceRefused, StoreFailed):
            with suppress(InstanceRefused, StoreFailed):  # the first failure is what counts
                self.delete(key)
            raise
        return answer

    def get(self, key: str) -> bytes:
        """Return the first bytes of an object."""
        with self._translating():
            answer = self._client.get_object(Bucket=self._target.bucket, Key=key)
            with answer["Body"] as body:
                return bytes(body.read(PART_SIZE))

    def has(self, key: str) -> bool | None:
        """Whether there is an object of this key; None if the store does not tell us."""
        try:
            self._ask("head_object", Key=key)
        except InstanceRefused:
            return None
        except StoreFailed as error:
            if error.code == "HTTP 404":
                return False
            if error.temporary:
                raise
            return None  # whatever it is, putting an object will tell
        return True

    def delete(self, key: str, version: str | None = None) -> None:
        """Delete an object, or one version of it. One that is not there is fine."""
        self._ask("delete_object", Key=key, **({"VersionId": version} if version else {}))

    def look(self) -> Answer:
        """Ask whether the bucket is there."""
        return self._ask("head_bucket")

    def introduce(self) -> None:
        """Ask for the first of our buckets: whoever we are, the store has to find out."""
        with self._translating():
            self._client.list_buckets(MaxBuckets=1)

    def _upload_parts(self, key: str, payload: Payload, stopped: threading.Event) -> None:
        self._abort_older(key)
        answer = self._ask(
            "create_multipart_upload", Key=key, ContentType=_DICOM, **self._asked_for
        )
        upload = {"Key": key, "UploadId": answer.get("UploadId", "")}
        try:
            self._complete(upload, self._put_parts(upload, payload, stopped), stopped)
        except BaseException:
            with suppress(InstanceRefused, StoreFailed):  # the first failure is what counts
                self._ask("abort_multipart_upload", **upload)
            raise
        if self._target.encryption and not answer.get("ServerSideEncryption"):
            self._look_at_encryption(key)

    def _complete(
        self, upload: dict[str, str], parts: list[dict[str, object]], stopped: threading.Event
    ) -> None:
        if stopped.is_set():
            raise Interrupted
        answer = self._ask("complete_multipart_upload", **upload, MultipartUpload={"Parts": parts})
        if not answer.get("ETag"):
            raise no_store(self._target)

    def _look_at_encryption(self, key: str) -> None:
        """Find out what became of an object whose store did not say it by itself, if we may."""
        try:
            self._verify_encryption(self._ask("head_object", Key=key))
        except InstanceRefused:
            return
        except StoreFailed as error:
            if error.code != _NOT_ENCRYPTED:
                return
            with suppress(InstanceRefused, StoreFailed):  # the first failure is what counts
                self.delete(key)
            raise

    def _put_parts(
        self, upload: dict[str, str], payload: Payload, stopped: threading.Event
    ) -> list[dict[str, object]]:
        """Put all parts, several at once; when one fails those that wait are given up."""
        size = part_size(payload.size)
        futures = [
            self._workers.submit(partial(self._put_part, upload, payload, number, size, stopped))
            for number in range(1, -(-payload.size // size) + 1)
        ]
        try:
            return [future.result() for future in futures]
        finally:
            wait([future for future in futures if not future.cancel()])  # they read the payload

    def _put_part(
        self,
        upload: dict[str, str],
        payload: Payload,
        number: int,
        size: int,
        stopped: threading.Event,
    ) -> dict[str, object]:
        body = read_body(payload, (number - 1) * size, size, stopped, self._pace)
        for patience in _PATIENCE:
            try:
                return self._put_one(upload, number, body)
            except StoreFailed as error:
                if not _worth_waiting(error) or stopped.wait(patience):
                    raise
        return self._put_one(upload, number, body)

    def _put_one(self, upload: dict[str, str], number: int, body: Body) -> dict[str, object]:
        answer = self._ask_with("upload_part", body, **upload, PartNumber=number)
        self._verify(answer, body)
        return {"PartNumber": number, "ETag": answer["ETag"]}

    def _abort_older(self, key: str) -> None:
        """End what earlier tries at an object have left; their parts would cost room for ever."""
        try:
            answer = self._ask("list_multipart_uploads", Prefix=key)
            for each in answer.get("Uploads", ()):
                if each["Key"] == key:
                    self._ask("abort_multipart_upload", Key=key, UploadId=each["UploadId"])
        except (InstanceRefused, StoreFailed) as error:
            if isinstance(error, StoreFailed) and error.temporary:
                raise  # whatever else it is, the upload does not need it

    def _ask_with(self, operation: str, body: Body, **parameters: Any) -> Answer:
        """Send a body, again if the connection was closed: it may just have been idle for long."""
        send = partial(
            getattr(self._client, operation),
            Bucket=self._target.bucket,
            Body=body,
            ContentMD5=body.content_md5,
            **parameters,
        )
        with self._translating():
            try:
                body.seek(0)
                answer: Answer = send()
            except BotoCoreError as error:
                if not is_closed(error):
                    raise
                body.seek(0)
                answer = send()
        return answer

    def _ask(self, operation: str, **parameters: Any) -> Answer:
        with self._translating():
            answer: Answer = getattr(self._client, operation)(
                Bucket=self._target.bucket, **parameters
            )
        return answer

    @contextmanager
    def _translating(self) -> Iterator[None]:
        """Turn what botocore and our settings raise into what this class does."""
        try:
            yield
        except LibraryError as error:
            if any(isinstance(each, Interrupted) for each in chain(error)):
                raise Interrupted from error
            raise translated(error, self._target) from error
        except SecretUnavailable as error:
            advice = "have the secret where the dispatcher and the tester can read it"
            raise StoreFailed(ErrorKind.MISCONFIGURED, str(error), advice) from error
        except TlsMisconfigured as error:
            raise untrusted(str(error)) from error

    def _verify(self, answer: Answer, body: Body) -> None:
        """Compare what the store says that it got: an ETag is an MD5, unless by KMS."""
        etag = str(answer.get("ETag", "")).strip('"').lower()
        if not etag:
            raise no_store(self._target)
        encryption = answer.get("ServerSideEncryption") or self._target.encryption or ""
        by_kms = str(encryption).startswith("aws:kms")
        if _MD5.fullmatch(etag) and etag != body.md5.hex() and not by_kms:
            raise InstanceRefused("ETag", "what the store has got is not what was sent")

    def _verify_encryption(self, answer: Answer) -> None:
        """Some stores ignore what they do not know, and keep in the clear what they should not."""
        wanted = self._target.encryption
        if wanted is not None and answer.get("ServerSideEncryption") != wanted:
            raise StoreFailed(
                ErrorKind.MISCONFIGURED,
                f"the store does not encrypt by {wanted}, and says nothing about it",
                "have it configured there, or leave out encryption",
                code=_NOT_ENCRYPTED,
            )


def _worth_waiting(error: StoreFailed) -> bool:
    """Whether a store that answered may take the same part in a moment."""
    answered = bool(error.code) and error.temporary
    return answered and (error.retry_after or 0.0) <= _PATIENCE[-1]


def _asked_for(target: S3Target) -> dict[str, Any]:
    """Return what the settings ask for with every object."""
    wanted = {
        "ServerSideEncryption": target.encryption,
        "SSEKMSKeyId": target.kms_key,
        "StorageClass": target.storage_class,
        "Tagging": urlencode(target.tags),
        "Metadata": target.metadata,
    }
    return {name: value for name, value in wanted.items() if value}

"""What the error codes of S3 mean for a delivery. Of an answer only its code is ever quoted.

The store's own message and its other fields may repeat the key, which may be made of a patient's
name.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any, NamedTuple

from crossdock.config.targets import S3Target
from crossdock.errors import ErrorKind
from crossdock.protocols.failures import InstanceRefused
from crossdock.protocols.s3.errors import StoreFailed
from crossdock.protocols.web.answers import seconds_to_wait


class _Meaning(NamedTuple):
    """Of what kind a code is, whether it passes by itself, what was found, and what to do."""

    kind: ErrorKind
    temporary: bool
    found: str
    advice: str


_REFUSES = {
    "EntityTooLarge": "the store does not take objects of this size",
    "EntityTooSmall": "the store does not take parts of this size",
    "InvalidPart": "the store has lost a part of the object",
    "InvalidPartOrder": "the store has lost a part of the object",
    "KeyTooLongError": "the key from prefix and naming is too long for this store",
    "NoSuchUpload": "somebody ended the upload of this object midway",
    "BadDigest": "what arrived at the store is not what was sent",
    "IncompleteBody": "what arrived at the store is not what was sent",
    "XAmzContentSHA256Mismatch": "what arrived at the store is not what was sent",
    "ExistingObjectIsDirectory": "a folder stands where this object belongs",
    "ExistingObjectIsFile": "an object stands where this one wants a folder",
}
"""Codes that are about one object, and what they say."""

_KEYS = "compare access_key and secret_key with those that the store has given out"
_DENIED = _Meaning(
    ErrorKind.UNAUTHORISED,
    False,
    "access to bucket {bucket} is denied",
    "allow s3:PutObject on {bucket}/{prefix}* to these credentials",
)
_UNKNOWN_KEY = _Meaning(
    ErrorKind.UNAUTHORISED, False, "the store does not know this access key", _KEYS
)
_EXPIRED = _Meaning(
    ErrorKind.UNAUTHORISED, False, "the credentials have expired", "have them renewed"
)
_NO_BUCKET = _Meaning(
    ErrorKind.MISCONFIGURED,
    False,
    "there is no bucket {bucket}",
    "make it, or correct bucket, region and endpoint",
)
_CLOCK = _Meaning(
    ErrorKind.MISCONFIGURED,
    False,
    "the clocks of this machine and of the store differ{skew}",
    "have the clocks set by NTP",
)
_REGION = _Meaning(
    ErrorKind.MISCONFIGURED,
    False,
    "bucket {bucket} is in another region than {region}{other}",
    "correct the region, and the endpoint if it names one",
)
_NO_KMS = _Meaning(
    ErrorKind.MISCONFIGURED,
    False,
    "the key for encryption cannot be used",
    "correct kms_key, and let these credentials use that key",
)
_NOT_OFFERED = _Meaning(
    ErrorKind.MISCONFIGURED,
    False,
    "the store does not offer what the target asks for",
    "leave out encryption, storage_class and tags, or have the store allow them",
)
_BUSY = _Meaning(
    ErrorKind.BUSY, True, "the store is busy", "it is tried again later by itself, and more slowly"
)
_FULL = _Meaning(
    ErrorKind.BUSY, True, "the store has no room", "make room in it, or raise the quota"
)
_FAULT = _Meaning(ErrorKind.UNREACHABLE, True, "the store has a fault", "look at the store's log")
_NO_STORE = _Meaning(
    ErrorKind.MISCONFIGURED,
    False,
    "what answers at {url} is no S3 store",
    "correct the endpoint, and path_style",
)

_FAILS = {
    "AccessDenied": _DENIED,
    "AllAccessDisabled": _DENIED,
    "AccountProblem": _DENIED,
    "InvalidAccessKeyId": _UNKNOWN_KEY,
    "SignatureDoesNotMatch": _Meaning(
        ErrorKind.UNAUTHORISED, False, "the secret key does not belong to the access key", _KEYS
    ),
    "InvalidToken": _EXPIRED,
    "ExpiredToken": _EXPIRED,
    "TokenRefreshRequired": _EXPIRED,
    "RequestTimeTooSkewed": _CLOCK,
    "RequestExpired": _CLOCK,
    "NoSuchBucket": _NO_BUCKET,
    "InvalidBucketName": _NO_BUCKET._replace(found="{bucket} is no possible name of a bucket"),
    "PermanentRedirect": _REGION,
    "TemporaryRedirect": _REGION,
    "AuthorizationHeaderMalformed": _REGION,
    "IllegalLocationConstraintException": _REGION,
    "InvalidStorageClass": _NOT_OFFERED._replace(
        found="the store has no storage class {storage_class}", advice="correct storage_class"
    ),
    "InvalidTag": _NOT_OFFERED._replace(
        found="the store does not take these tags", advice="correct tags"
    ),
    "InvalidEncryptionAlgorithmError": _NOT_OFFERED,
    "ServerSideEncryptionConfigurationNotFoundError": _NOT_OFFERED,
    "NotImplemented": _NOT_OFFERED,
    "KMSNotConfigured": _NO_KMS,
    "QuotaExceeded": _FULL,
    "InsufficientCapacity": _FULL,
    "XMinioStorageFull": _FULL,
    "XMinioAdminBucketQuotaExceeded": _FULL,
    "SlowDown": _BUSY,
    "ServiceUnavailable": _BUSY,
    "TooManyRequests": _BUSY,
    "RequestLimitExceeded": _BUSY,
    "OperationAborted": _BUSY,
    "InternalError": _FAULT,
    "RequestTimeout": _Meaning(
        ErrorKind.TIMEOUT, True, "the store waited too long for us", "is the network slow?"
    ),
}
"""Codes that are about the store or our settings."""

_FAILS_BY_STATUS = {
    HTTPStatus.MOVED_PERMANENTLY: _REGION,
    HTTPStatus.TEMPORARY_REDIRECT: _REGION,
    HTTPStatus.UNAUTHORIZED: _DENIED,
    HTTPStatus.FORBIDDEN: _DENIED,
    HTTPStatus.NOT_FOUND: _NO_BUCKET,
    HTTPStatus.METHOD_NOT_ALLOWED: _NO_STORE,
    HTTPStatus.NOT_IMPLEMENTED: _NOT_OFFERED,
    HTTPStatus.REQUEST_TIMEOUT: _BUSY,
    HTTPStatus.TOO_MANY_REQUESTS: _BUSY,
    HTTPStatus.SERVICE_UNAVAILABLE: _BUSY,
    HTTPStatus.INSUFFICIENT_STORAGE: _FULL,
}
"""What a status says that comes without a known code, as from a proxy, or to a HEAD request."""

CREDENTIALS = frozenset(
    (
        "InvalidAccessKeyId",
        "SignatureDoesNotMatch",
        "InvalidToken",
        "ExpiredToken",
        "TokenRefreshRequired",
        "RequestTimeTooSkewed",
        "RequestExpired",
        "AuthorizationHeaderMalformed",
    )
)
"""Codes that say that the store does not accept who we are, whatever was asked for."""

_CODE = re.compile(r"[A-Za-z][A-Za-z0-9._]{0,63}")
_REGION_NAME = re.compile(r"[A-Za-z0-9-]{1,64}")


def judge(answer: Mapping[str, Any], target: S3Target) -> StoreFailed | InstanceRefused:
    """Return what a store's answer, which is an error, says of the object or of the store."""
    code, status = _code(answer), _status(answer)
    if code in _REFUSES:
        return InstanceRefused(code, _REFUSES[code])
    said = code or f"HTTP {status}"
    meaning = _meaning(code, status)
    if meaning is None:
        return InstanceRefused(said, "the store does not take this object")
    return StoreFailed(
        meaning.kind,
        f"{_filled(meaning.found, answer, target)} ({said})",
        _filled(meaning.advice, answer, target),
        temporary=meaning.temporary,
        retry_after=seconds_to_wait(_headers(answer).get("retry-after", ""))
        if meaning.temporary
        else None,
        code=said,
    )


def no_store(target: S3Target) -> StoreFailed:
    """Return what to say of an answer that no S3 store gives."""
    return StoreFailed(
        _NO_STORE.kind, _NO_STORE.found.format(url=target.url), _NO_STORE.advice, code="no S3"
    )


def _code(answer: Mapping[str, Any]) -> str:
    """Return the error's code; empty if there is none, which a number stands for."""
    code = str(answer.get("Error", {}).get("Code") or "")
    return code if _CODE.fullmatch(code) else ""


def _status(answer: Mapping[str, Any]) -> int:
    return int(answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _meaning(code: str, status: int) -> _Meaning | None:
    if code in _FAILS:
        return _FAILS[code]
    if code.startswith("KMS."):
        return _NO_KMS
    if status in _FAILS_BY_STATUS:
        return _FAILS_BY_STATUS[HTTPStatus(status)]
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return _FAULT
    return _NO_STORE if status < HTTPStatus.BAD_REQUEST else None


def _filled(words: str, answer: Mapping[str, Any], target: S3Target) -> str:
    return words.format(
        bucket=target.bucket,
        prefix=f"{target.prefix}/" if target.prefix else "",
        region=target.region,
        storage_class=target.storage_class or "(none)",
        url=target.url,
        skew=_skew(answer),
        other=_other_region(answer),
    )


def _headers(answer: Mapping[str, Any]) -> Mapping[str, str]:
    headers: Mapping[str, str] = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    return headers


def _skew(answer: Mapping[str, Any]) -> str:
    """Say by how much the clocks differ, by the date of the answer."""
    try:
        theirs = parsedate_to_datetime(_headers(answer).get("date", ""))
        seconds = (datetime.now(UTC) - theirs).total_seconds()
    except (ValueError, TypeError):
        return ""
    return f": this one is {abs(seconds) / 60:.0f} minutes {'ahead' if seconds > 0 else 'behind'}"


def _other_region(answer: Mapping[str, Any]) -> str:
    told = _headers(answer).get("x-amz-bucket-region") or answer.get("Error", {}).get("Region")
    return f": {told}" if told and _REGION_NAME.fullmatch(str(told)) else ""

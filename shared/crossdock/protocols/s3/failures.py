"""What botocore raises, in our own terms."""

import ssl
from collections.abc import Iterator

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConfigNotFound,
    ConfigParseError,
    ConnectionClosedError,
    ConnectTimeoutError,
    CredentialRetrievalError,
    EndpointConnectionError,
    HTTPClientError,
    MetadataRetrievalError,
    NoCredentialsError,
    PartialCredentialsError,
    ProfileNotFound,
    ProxyConnectionError,
    ReadTimeoutError,
    SSLError,
)
from botocore.exceptions import (
    ConnectionError as NoConnection,
)
from botocore.parsers import ResponseParserError

from crossdock.config.targets import S3Target
from crossdock.dicom.tls import words_of
from crossdock.errors import ErrorKind
from crossdock.protocols.failures import InstanceRefused
from crossdock.protocols.s3.answers import judge, no_store
from crossdock.protocols.s3.errors import StoreFailed


LibraryError = (BotoCoreError, ClientError, ResponseParserError)
"""All that botocore raises where a store or our settings are the reason."""

_NO_CREDENTIALS = (
    NoCredentialsError,
    PartialCredentialsError,
    CredentialRetrievalError,
    MetadataRetrievalError,
)
_BAD_PROFILE = (ProfileNotFound, ConfigNotFound, ConfigParseError)
TLS_ADVICE = "compare ca, host name and certificate with the store's"
PEER_ADVICE = "is the store running, and are endpoint and firewall right?"


def translated(
    error: ClientError | BotoCoreError | ResponseParserError, target: S3Target
) -> StoreFailed | InstanceRefused:
    """Return what an error of botocore says of the store, or of the one object."""
    if isinstance(error, ClientError):
        return judge(error.response, target)
    if isinstance(error, HTTPClientError | NoConnection):
        return _of_the_way(error, target)
    if isinstance(error, _NO_CREDENTIALS):
        return StoreFailed(
            ErrorKind.UNAUTHORISED,
            f"no credentials are found here ({type(error).__name__})",
            "set access_key and secret_key, or give the dispatcher a profile or a role",
        )
    if isinstance(error, _BAD_PROFILE):
        return StoreFailed(
            ErrorKind.MISCONFIGURED,
            f"the AWS settings of this machine cannot be used ({type(error).__name__})",
            "correct AWS_PROFILE and the files that it is about",
        )
    if isinstance(error, ResponseParserError):
        return no_store(target)
    return StoreFailed(
        ErrorKind.MISCONFIGURED,
        f"the request cannot be made ({type(error).__name__})",
        "compare the target's settings with the store's",
    )


def is_closed(error: BotoCoreError) -> bool:
    """Whether the store closed the connection, as it may with one that was idle for long."""
    return isinstance(error, ConnectionClosedError) and not _is_timeout(error)


def _of_the_way(error: HTTPClientError | NoConnection, target: S3Target) -> StoreFailed:
    """Return what is the matter between us and the store."""
    host, port = target.address
    if isinstance(error, SSLError):
        return untrusted(_tls_words(error))
    if isinstance(error, ProxyConnectionError):
        return StoreFailed(
            ErrorKind.UNREACHABLE,
            "the proxy of the dispatcher's environment cannot be reached",
            "correct HTTPS_PROXY or NO_PROXY, or mend the proxy",
            temporary=True,
        )
    if isinstance(error, EndpointConnectionError):
        found = f"cannot connect to {host}:{port}{_os_words(error)}"
        return StoreFailed(ErrorKind.UNREACHABLE, found, PEER_ADVICE, temporary=True)
    if isinstance(error, ConnectTimeoutError):
        found = f"{host}:{port} did not accept a connection in {target.connect_timeout:g} s"
        return StoreFailed(ErrorKind.UNREACHABLE, found, PEER_ADVICE, temporary=True)
    if isinstance(error, ReadTimeoutError) or _is_timeout(error):
        found = f"the store did not go on for {target.timeout:g} s"
        advice = "is it overloaded, or does a firewall drop what is sent?"
        return StoreFailed(ErrorKind.TIMEOUT, found, advice, temporary=True)
    found = f"the connection to {host}:{port} was lost{_os_words(error)}"
    return StoreFailed(ErrorKind.UNREACHABLE, found, PEER_ADVICE, temporary=True)


def untrusted(words: str) -> StoreFailed:
    """Return what to say when TLS fails."""
    return StoreFailed(ErrorKind.MISCONFIGURED, f"TLS failed: {words}", TLS_ADVICE)


def _tls_words(error: BaseException) -> str:
    for each in chain(error):
        if isinstance(each, ssl.SSLError):
            return words_of(each)
    return "the connection could not be secured"


def _os_words(error: BaseException) -> str:
    for each in chain(error):
        if isinstance(each, OSError) and each.strerror:
            return f": {each.strerror.lower()}"
    return ""


def _is_timeout(error: BaseException) -> bool:
    return any(isinstance(each, TimeoutError) for each in chain(error))


def chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and whatever it came from, as botocore and urllib3 nest them."""
    left, seen = [error], set()
    while left:
        each = left.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        inner = [each.__cause__, each.__context__, *each.args, getattr(each, "kwargs", {})]
        for one in inner:
            candidates = one.values() if isinstance(one, dict) else (one,)
            left += [found for found in candidates if isinstance(found, BaseException)]

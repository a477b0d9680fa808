"""The key that secrets are sealed with: from the environment, or made once on this machine.

``CROSSDOCK_SECRET_KEY`` or the file that ``CROSSDOCK_SECRET_KEY_FILE`` names hold one key, or
several separated by commas or lines: the first seals, all of them open, so that a key can be
changed while the old one is still needed. Without either the key is in ``secret.key`` in the data
directory, made when it is first needed, for its owner only.
"""

import base64
import contextlib
import os
import re
import secrets
from functools import lru_cache
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from crossdock.errors import SecretUnavailable
from crossdock.settings import from_environment


KEY_FILE = "secret.key"
_SHORTEST = 32  # characters: `openssl rand -base64 32` gives 44
_PURPOSE = b"crossdock secrets 1"


def seal(text: str) -> str:
    """Return ``text`` so that only who has the key can read it.

    Raises:
        SecretUnavailable: there is no usable key.
    """
    return _keys(*_source())[0].encrypt(text.encode()).decode()


def unseal(token: str) -> str:
    """Return what was sealed.

    Raises:
        SecretUnavailable: it was sealed with another key, or there is no usable one.
    """
    try:
        return MultiFernet(_keys(*_source())).decrypt(token).decode()
    except InvalidToken:
        raise SecretUnavailable(
            "sealed with another key: set CROSSDOCK_SECRET_KEY to that one, or give it anew"
        ) from None


def resealed(token: str) -> str:
    """Return what was sealed with any of the keys sealed with the first; as it is if it was.

    Raises:
        SecretUnavailable: as ``unseal``.
    """
    try:
        _keys(*_source())[0].decrypt(token)
    except InvalidToken:
        return seal(unseal(token))
    return token


def _source() -> tuple[str, str]:
    """Return the key's text, or where its file is."""
    text = os.environ.get("CROSSDOCK_SECRET_KEY", "")
    file = os.environ.get("CROSSDOCK_SECRET_KEY_FILE", "")
    if not text and not file:
        file = str(from_environment().data / KEY_FILE)
        _make(Path(file))
    return text, file


@lru_cache(maxsize=4)
def _keys(text: str, file: str) -> list[Fernet]:
    text = text or _read(file)
    keys = [key.strip() for key in re.split(r"[,\n]", text) if key.strip()]
    if not keys or any(len(key) < _SHORTEST for key in keys):
        raise SecretUnavailable(
            f"CROSSDOCK_SECRET_KEY needs {_SHORTEST} characters or more, as from "
            "`openssl rand -base64 32`"
        )
    return [_fernet(key) for key in keys]


def _fernet(key: str) -> Fernet:
    derived = HKDF(algorithm=SHA256(), length=32, salt=None, info=_PURPOSE).derive(key.encode())
    return Fernet(base64.urlsafe_b64encode(derived))


def _read(file: str) -> str:
    try:
        return Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        words = error.strerror if isinstance(error, OSError) else "is not text"
        raise SecretUnavailable(f"{file}: {words}") from None


def _make(file: Path) -> None:
    """Make the key's file whole or not at all, whichever process is first."""
    if file.exists():
        return
    draft = file.with_name(f".{KEY_FILE}.{secrets.token_hex(8)}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.write(descriptor, f"{secrets.token_urlsafe(48)}\n".encode())
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        with contextlib.suppress(FileExistsError):
            os.link(draft, file)
    except OSError as error:
        raise SecretUnavailable(f"{file}: {error.strerror}") from None
    finally:
        draft.unlink(missing_ok=True)

"""Decodes text by Specific Character Set (PS3.3 C.12.1.1.2, PS3.5 6.1.2) without ever failing.

The tables are pydicom's. Its functions warn where a value cannot be decoded, and in a gateway
that is an everyday event, so the walk over escape sequences is our own.
"""

import re
from functools import cache, lru_cache
from importlib import import_module
from types import ModuleType


_ESCAPE = b"\x1b"
_FRAGMENTS = re.compile(rb"\x1b[^\x1b]*|[^\x1b]+")
_SPELLING = re.compile(r"ISO[ _-]?(2022)?[ _-]?IR[ _-]?(\d+)")
_SELF_ESCAPING = frozenset(("iso2022_jp", "iso2022_jp_2"))
_ALONE = frozenset(("UTF8", "GB18030", "GBK"))
_USUAL = {"ISO_IR 6": "iso8859", "ISO_IR 100": "latin_1", "ISO_IR 192": "UTF8"}
"""What most instances say; for the others pydicom is loaded, which takes long."""


@lru_cache(maxsize=256)
def encodings(specific_character_set: bytes) -> tuple[str, ...]:
    """Return Python's names for a Specific Character Set, empty where there is none.

    Terms in an unusual spelling are understood, unknown ones left out.
    """
    terms = specific_character_set.decode("ascii", "replace").strip("\0 ").upper().split("\\")
    if not any(terms):
        return ()
    respelt = [_respell(term.strip()) for term in terms]
    table = _USUAL if _USUAL.keys() >= set(respelt) else _charset().python_encoding
    return tuple(table[term] for term in respelt if term in table) or ("iso8859",)


def understood() -> list[str]:
    """Return the defined terms that are understood (PS3.3 C.12.1.1.2)."""
    return sorted(term for term in _charset().python_encoding if term)


def decode(value: bytes, names: tuple[str, ...], delimiters: bytes) -> str:
    """Return ``value`` as text; what cannot be decoded becomes replacement characters.

    ``delimiters`` are the characters that end the effect of an escape sequence. Without any
    encoding, UTF-8 and then Latin-1 is tried: that is what devices send that forget to say so.
    """
    if not names:
        return decode_undeclared(value)
    if _ESCAPE not in value or names[0] in _ALONE:
        return value.decode(names[0], "replace")
    return "".join(
        _decode_fragment(fragment, names[0], delimiters) for fragment in _FRAGMENTS.findall(value)
    )


def decode_undeclared(value: bytes) -> str:
    """Return text of which nobody said how it is encoded."""
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value.decode("latin-1")


def _respell(term: str) -> str:
    match = _SPELLING.fullmatch(term)
    if match is None:
        return term
    return f"ISO 2022 IR {match[2]}" if match[1] else f"ISO_IR {match[2]}"


def _decode_fragment(fragment: bytes, first: str, delimiters: bytes) -> str:
    length = 4 if fragment[:3] in (b"\x1b$(", b"\x1b$)") else 3
    encoding = _charset().CODES_TO_ENCODINGS.get(fragment[:length])
    if not fragment.startswith(_ESCAPE) or encoding is None:
        return fragment.decode(first, "replace")
    if encoding in _SELF_ESCAPING:
        return fragment.decode(encoding, "replace")
    text = fragment[length:]
    end = next((at for at, byte in enumerate(text) if byte in delimiters), len(text))
    return text[:end].decode(encoding, "replace") + text[end:].decode(first, "replace")


@cache
def _charset() -> ModuleType:
    return import_module("pydicom.charset")

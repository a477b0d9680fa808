"""File names from DICOM keywords: ``{StudyInstanceUID}/{SOPInstanceUID}.dcm``.

Values come from the network and are hostile. What a template produces is always a relative path
below the directory that it is used in.
"""

import difflib
import re
from collections.abc import Mapping

from crossdock.dicom.dictionary import attributes


_FIELD = re.compile(r"\{([^{}]*)\}")
_UNSAFE = re.compile(r"[^\w.,=+@ -]")  # \w of Unicode: names may be Korean, never a separator
_MAX_PART = 120  # characters of one value; a path component stays below 255 bytes with three


def keywords_of(template: str) -> tuple[str, ...]:
    """Return the DICOM keywords that a template uses, each once."""
    return tuple(dict.fromkeys(_FIELD.findall(template)))


def check_template(template: str) -> None:
    """Check that a template is a relative path and uses known keywords only.

    Raises:
        ValueError: with what is wrong and, for a misspelt keyword, the nearest one.
    """
    rest = _FIELD.sub("", template)
    if "{" in rest or "}" in rest:
        raise ValueError("braces do not pair up; write {Keyword}")
    for keyword in keywords_of(template):
        require_keyword(keyword)
    if template.startswith("/") or any(part in ("", ".", "..") for part in template.split("/")):
        raise ValueError("use a relative path without empty, '.' or '..' parts")
    if "\0" in template:
        raise ValueError("a NUL character cannot be part of a file name")
    if not keywords_of(template):
        raise ValueError("without a keyword all instances would get the same name")


def require_keyword(keyword: str) -> None:
    """Check that a DICOM keyword exists (PS3.6 6).

    Raises:
        ValueError: it does not; the message suggests the nearest one.
    """
    if keyword in attributes():
        return
    near = difflib.get_close_matches(keyword, attributes(), 1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise ValueError(f"{keyword!r} is no DICOM keyword{hint}")


def fill(template: str, values: Mapping[str, str]) -> str:
    """Return the path that ``template`` gives for one instance, safe to join to a directory.

    A missing value becomes ``unknown``; characters that could leave the directory or upset a file
    system become underscores.
    """
    parts = template.split("/")
    return "/".join(_component(part, values) for part in parts)


def _component(part: str, values: Mapping[str, str]) -> str:
    name = _FIELD.sub(lambda match: _clean(values.get(match.group(1), "")), part)
    name = name.strip(" ")
    if not name.strip("."):
        return "unknown"
    while len(name.encode()) > 240:  # noqa: PLR2004 — file systems end at 255 bytes
        name = name[: len(name) // 2] + name[len(name) // 2 + 1 :]
    return name


def _clean(value: str) -> str:
    text = _UNSAFE.sub("_", value).strip(" .")[:_MAX_PART]
    return text or "unknown"

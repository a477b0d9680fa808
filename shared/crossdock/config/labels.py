"""Labels of XNAT from DICOM keywords: ``{PatientID}_{StudyDate}``. Only letters, digits, _ and -.

Values come from the network and are hostile, and two that differ must not become one label: the
data of two patients would be mixed. So whatever had to be changed is told apart by a digest.
"""

import hashlib
import re
from collections.abc import Mapping

from crossdock.config.naming import keywords_of, require_keyword


_FIELD = re.compile(r"\{([^{}]*)\}")
_LITERAL = re.compile(r"[A-Za-z0-9_-]*")
_UNSAFE = re.compile(r"[^A-Za-z0-9_-]+")
_UID = re.compile(r"[0-9]+(\.[0-9]+)+")
_MAX_VALUE = 64  # characters: a whole UID
_MAX_LABEL = 160  # XNAT's column has 255, and more is added to it in names of files
_DIGITS = 10  # of a digest


def check_label(template: str) -> str:
    """Return a template of labels that can be used.

    Raises:
        ValueError: with what is wrong and, for a misspelt keyword, the nearest one.
    """
    rest = _FIELD.sub("", template)
    if "{" in rest or "}" in rest:
        raise ValueError("braces do not pair up; write {Keyword}")
    if not template or not _LITERAL.fullmatch(rest):
        raise ValueError("use letters, digits, _ and -, and DICOM keywords in braces")
    for keyword in keywords_of(template):
        require_keyword(keyword)
    return template


def fill_label(template: str, values: Mapping[str, str], missing: str = "unknown") -> str:
    """Return the label that ``template`` gives for one instance; ``missing`` is for lacking values.

    UIDs keep their digits, with underscores for dots. Any other value that has to be changed or
    cut gets a digest of itself.
    """
    label = _FIELD.sub(lambda match: _clean(values.get(match.group(1), "")) or missing, template)
    if len(label) > _MAX_LABEL:
        label = f"{label[: _MAX_LABEL - _DIGITS - 1]}-{digest(label)}"
    return label


def digest(text: str) -> str:
    """Return a few hex digits that tell a text from others."""
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()[:_DIGITS]


def _clean(value: str) -> str:
    value = value.strip()
    if _UID.fullmatch(value) and len(value) <= _MAX_VALUE:
        return value.replace(".", "_")
    text = _UNSAFE.sub("_", value).strip("_-")
    if text == value and len(text) <= _MAX_VALUE:
        return text
    return f"{text[:_MAX_VALUE]}-{digest(value)}".lstrip("-")

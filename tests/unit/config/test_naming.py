"""File names from DICOM keywords: hostile values never leave the directory."""

from pathlib import PurePosixPath

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossdock.config.naming import check_template, fill, keywords_of


@pytest.mark.parametrize(
    ("template", "values", "path"),
    [
        (
            "{Modality}/{SOPInstanceUID}.dcm",
            {"Modality": "CT", "SOPInstanceUID": "1.2"},
            "CT/1.2.dcm",
        ),
        ("{Modality}/x{PatientID}", {}, "unknown/xunknown"),
        ("{PatientID}/f", {"PatientID": "../../etc/passwd"}, "_.._etc_passwd/f"),
        ("{PatientID}/f", {"PatientID": ".."}, "unknown/f"),
        ("{PatientID}/f", {"PatientID": "a\0b\nc"}, "a_b_c/f"),
        ("{PatientName}", {"PatientName": "홍^길동"}, "홍_길동"),
        ("{PatientName}", {"PatientName": "{Modality}"}, "_Modality_"),
    ],
)
def test_a_template_is_filled(template, values, path):
    assert fill(template, values) == path


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{PatientNane}", "did you mean 'PatientName'"),
        ("{Modality", "braces"),
        ("{Modality}}", "braces"),
        ("/{Modality}", "relative"),
        ("{Modality}/../x", "relative"),
        ("{Modality}//x", "relative"),
        ("./{Modality}", "relative"),
        ("fixed.dcm", "same name"),
        ("{}", "no DICOM keyword"),
        ("{Modality}\0", "NUL"),
    ],
)
def test_a_template_with_a_mistake_is_refused_in_words(template, said):
    with pytest.raises(ValueError, match=r".") as caught:
        check_template(template)
    assert said in str(caught.value)


def test_keywords_are_named_once_and_in_order():
    assert keywords_of("{Modality}/{PatientID}/{Modality}") == ("Modality", "PatientID")


_HOSTILE = st.text(max_size=300) | st.sampled_from(
    ["..", ".", "/", "\\", "../" * 50, "\0", " ", "-rf", "~", "é" * 300, "\ud800", "a/../..", "CON"]
)
_PARTS = st.sampled_from(
    ["{Modality}", "{PatientName}", "x{PatientID}y", ".{PatientID}", "{PatientID}..", "fixed"]
)


@settings(max_examples=400, deadline=None)
@given(
    parts=st.lists(_PARTS, min_size=1, max_size=5),
    values=st.dictionaries(
        st.sampled_from(["Modality", "PatientName", "PatientID"]), _HOSTILE, max_size=3
    ),
)
def test_no_value_leaves_the_directory_or_upsets_a_file_system(parts, values):
    path = fill("/".join(parts), values)
    components = path.split("/")
    assert len(components) == len(parts)
    assert not PurePosixPath(path).is_absolute()
    for component in components:
        assert component not in ("", ".", "..")
        assert len(component.encode()) <= 255
        assert component.isprintable()
        assert "\\" not in component

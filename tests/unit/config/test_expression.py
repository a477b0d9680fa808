"""The conditions of rules: what they mean, and that nothing else can be written."""

import ast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossdock.config.expression import FACTS, Expression


CT = {
    "Modality": "CT",
    "StudyDescription": "CHEST with contrast",
    "ImageType": "ORIGINAL\\PRIMARY\\AXIAL",
    "SliceThickness": "2.50",
    "InstanceNumber": "12",
    "calling_ae_title": "CT1",
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('Modality == "CT"', True),
        ('Modality != "CT"', False),
        ('Modality == "CT" and "CHEST" in StudyDescription', True),
        ('Modality == "MR" or calling_ae_title == "CT1"', True),
        ('not Modality == "CT"', False),
        ('Modality in ["MR", "CT"]', True),
        ('Modality not in ("MR", "US")', True),
        ('"PRIMARY" in ImageType', True),
        ("SliceThickness <= 2.5", True),
        ("1 < SliceThickness < 2.5", False),
        ("InstanceNumber == 12", True),
        ("InstanceNumber in [11, 12]", True),
        ("InstanceNumber > -1", True),
        ('StudyDescription.lower().startswith("chest")', True),
        ('StudyDescription.endswith("Contrast")', False),
        ("PatientID", False),
        ("Modality", True),
        ('PatientID == ""', True),
        ("PatientID == 0", False),
        ("PatientID != 0", True),
        ("PatientID < 5", False),
        ('Modality < "MR"', True),
        ('"1234567" == 1234567', True),
        ('1234567 in "no. 1234567"', True),
        ('"-5" == -5', True),
    ],
)
def test_a_condition_means_what_it_says(text, expected):
    assert Expression(text)(CT) is expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('Modalitty == "CT"', "did you mean 'Modality'"),
        ("Modality ==", "not a condition"),
        ("", "not a condition"),
        ('Modality is "CT"', "write =="),
        ("__import__('os')", "text methods"),
        ("Modality.__class__", "cannot be used"),
        ("Modality.format()", "text methods"),
        ("[x for x in Modality]", "cannot be used"),
        ("Modality[0]", "cannot be used"),
        ("(lambda: 1)()", "text methods"),
        ("1 + 1", "cannot be used"),
        ('f"{Modality}"', "cannot be used"),
        ("True", "only text"),
        ("Modality == None", "only text"),
        ('Modality.lower("x")', "takes 0"),
        ('-"CT" == 1', "minus sign"),
        ("not " * 60 + "Modality", "deeper"),
        ("InstanceNumber == " + "9" * 400, "too large"),
        ("a" + ".a" * 990, ""),
        ("Modality == 'x'" * 200, "2000 characters"),
        ("Modality\0", "not a condition"),
    ],
)
def test_what_is_no_condition_is_refused_in_words(text, said):
    with pytest.raises(ValueError, match=r".") as caught:
        Expression(text)
    assert said in str(caught.value)


def test_a_condition_knows_what_it_looks_at():
    condition = Expression('Modality == "CT" or store_node == "main" and PatientID')
    assert condition.names == {"Modality", "store_node", "PatientID"}
    assert set(FACTS) >= {"store_node", "calling_ae_title", "called_ae_title", "address"}


_NAMES = st.sampled_from(["Modality", "PatientID", "InstanceNumber", "store_node"])
_TEXTS = st.text(
    st.characters(exclude_characters="\\", exclude_categories=["Cs", "Cc"]), max_size=5
)
_NUMBERS = st.integers(-(10**12), 10**12) | st.floats(allow_nan=False, allow_infinity=False)
_ATOMS = (
    _NAMES
    | _TEXTS.map(repr)
    | _NUMBERS.map(repr)
    | st.lists(_TEXTS | st.integers(0, 99), max_size=3).map(repr)
)


def _larger(inner):
    operators = st.sampled_from(["==", "!=", "<", "<=", ">", ">=", "in", "not in", "and", "or"])
    return (
        st.builds("({} {} {})".format, inner, operators, inner)
        | st.builds("(not {})".format, inner)
        | st.builds("{}.upper()".format, _NAMES)
        | st.builds("{}.startswith({})".format, _NAMES, inner)
    )


@settings(max_examples=300, deadline=None)
@given(
    text=st.recursive(_ATOMS, _larger, max_leaves=8),
    values=st.dictionaries(_NAMES, st.text(max_size=20)),
)
def test_whatever_can_be_written_can_be_worked_out(text, values):
    assert Expression(text)(values) in (True, False)


@settings(max_examples=300, deadline=None)
@given(text=st.text(max_size=60) | st.text("()[]-.,'\"=<> notandrMdlity01\\", max_size=60))
@pytest.mark.filterwarnings("ignore::SyntaxWarning", "ignore::DeprecationWarning")
def test_any_text_is_a_condition_or_a_value_error(text):
    try:
        condition = Expression(text)
    except ValueError:
        return
    assert condition({}) in (True, False)
    plain = text.strip().replace("\\", "\\\\")  # a backslash means itself
    assert isinstance(ast.parse(plain, mode="eval"), ast.Expression)

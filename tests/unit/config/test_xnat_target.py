"""Settings of XNAT targets: what is refused is named by its field, and labels are safe."""

import pytest

from crossdock.config.labels import fill_label
from crossdock.config.snapshot import parse_object
from crossdock.config.targets import XnatTarget
from crossdock.errors import ConfigError


LEAST = {
    "name": "research",
    "type": "xnat",
    "url": "https://xnat.example",
    "user": "gateway",
    "password": "s3cret-s3cret",
    "project": "HEART",
}


def target(**changes):
    found = parse_object("targets", LEAST | changes)
    assert isinstance(found, XnatTarget)
    return found


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("url", "xnat.example", "use a URL"),
        ("url", "ftp://xnat.example", "use a URL"),
        ("url", "https://", "use a URL"),
        ("url", "https://host:0", "use a URL"),
        ("url", "https://gateway:secret@host", "out of the URL"),
        ("url", "https://host/?a=b", "without ?"),
        ("url", "https://hö.st", "use a URL"),
        ("user", "", ""),
        ("user", "with:colon", ""),
        ("user", "line\nbreak", ""),
        ("password", "", "1 to"),
        ("project", "", "letters, digits"),
        ("project", "HEART STUDY", "letters, digits"),
        ("project", "../HEART", "letters, digits"),
        ("project", "{StudyDescripton}", "did you mean 'StudyDescription'"),
        ("subject", "{PatientID", "braces"),
        ("subject", "{PatientID}/x", "letters, digits"),
        ("session", "{}", "no DICOM keyword"),
        ("session", "x" * 501, ""),
        ("destination", "elsewhere", ""),
        ("commit", "perhaps", ""),
        ("overwrite", "yes", ""),
        ("import_handler", "SI", ""),
        ("transfers", 0, "greater"),
        ("transfers", 17, "less"),
        ("batch_instances", 0, "greater"),
        ("batch_bytes", 2**31, "less"),
        ("timeout", 0, "greater"),
        ("connect_timeout", -1, "greater"),
        ("direction", "both", "cannot be queried"),
        ("host", "xnat.example", "no such field"),
    ],
)
def test_what_is_wrong_is_named(field, value, said):
    with pytest.raises(ConfigError) as caught:
        target(**{field: value})
    (problem,) = caught.value.problems
    assert said in problem.message
    assert problem.field == field


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"url": "http://xnat", "tls": {}}, "tls needs an https url"),
        ({"overwrite": "delete"}, "destination archive"),
        ({"overwrite": "none", "destination": "archive", "commit": False}, "commit"),
    ],
)
def test_what_does_not_fit_together_is_said(changes, said):
    with pytest.raises(ConfigError, match=said):
        target(**changes)


@pytest.mark.parametrize(
    ("url", "place", "secure"),
    [
        ("https://xnat.example/", ("xnat.example", 443), True),
        ("http://10.0.0.5:8080/xnat", ("10.0.0.5", 8080), False),
        ("https://[::1]", ("::1", 443), True),
    ],
)
def test_where_a_server_is(url, place, secure):
    found = target(url=url)
    assert (found.place, found.secure) == (place, secure)
    assert not found.url.endswith("/")


def test_the_password_does_not_show():
    found = target()
    assert "s3cret-s3cret" not in repr(found)
    assert found.password.reveal() == "s3cret-s3cret"


@pytest.mark.parametrize(
    ("template", "values", "label"),
    [
        ("{PatientID}", {"PatientID": "12-34_x"}, "12-34_x"),
        ("{PatientID}", {"PatientID": " 1 "}, "1"),
        ("S_{StudyInstanceUID}", {"StudyInstanceUID": "1.2.840.3"}, "S_1_2_840_3"),
        ("{PatientID}_{StudyDate}", {"PatientID": "1"}, "1_none"),
        ("{PatientID}", {"PatientID": "\0"}, None),
        ("{PatientID}", {"PatientID": "../../etc"}, None),
        ("{PatientID}", {"PatientID": "a\r\nX: 1"}, None),
        ("{PatientID}", {"PatientID": "金希中"}, None),
        ("{PatientID}", {"PatientID": "&PROJECT_ID=x"}, None),
        ("{PatientID}", {"PatientID": "x" * 10_000}, None),
        ("{PatientID}{PatientID}{PatientID}{PatientID}", {"PatientID": "y" * 64}, None),
    ],
)
def test_labels_have_nothing_but_letters_digits_and_two_more(template, values, label):
    found = fill_label(template, values, "none")
    assert found
    assert len(found) <= 160
    assert found.replace("-", "").replace("_", "").isalnum()
    assert found.isascii()
    if label is not None:
        assert found == label


def test_values_that_differ_get_labels_that_differ():
    values = ["A.B", "A_B", "A B", "A/B", "a" * 64, "a" * 65, "a" * 66, "希", "金", "1.2", "1 2"]
    assert len({fill_label("{PatientID}", {"PatientID": value}) for value in values}) == len(values)

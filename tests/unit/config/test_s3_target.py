"""Settings of S3 targets: what is refused is named by its field, and where they lead."""

import pytest

from crossdock.config.snapshot import parse_object
from crossdock.config.targets import S3Target
from crossdock.errors import ConfigError


LEAST = {"name": "lake", "type": "s3", "bucket": "images"}


def target(**changes):
    found = parse_object("targets", LEAST | changes)
    assert isinstance(found, S3Target)
    return found


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("endpoint", "s3.example.org", "use a URL"),
        ("endpoint", "ftp://s3.example.org", "use a URL"),
        ("endpoint", "https://", "use a URL"),
        ("endpoint", "https://host:port", "use a URL"),
        ("endpoint", "https://key:secret@host", "no place for credentials"),
        ("endpoint", "https://host/?a=b", "host, port and path only"),
        ("endpoint", "https://höst", "ASCII"),
        ("region", "", ""),
        ("region", "eu central", ""),
        ("bucket", "", ""),
        ("bucket", "a/b", ""),
        ("bucket", "../etc", ""),
        ("prefix", "a/../b", "'..' parts"),
        ("prefix", "a//b", "empty"),
        ("prefix", "line\nbreak", "printable"),
        ("prefix", "x" * 501, ""),
        ("ca", "relative.pem", "absolute path"),
        ("access_key", "has space", ""),
        ("secret_key", "", "1 to"),
        ("encryption", "rot13", ""),
        ("kms_key", "", ""),
        ("storage_class", "glacier", ""),
        ("tags", {f"t{number}": "" for number in range(11)}, "at most 10"),
        ("tags", {"aws:x": "y"}, "is not aws:"),
        ("tags", {"": "y"}, "1 to 128"),
        ("tags", {"a": "<b>"}, "letters, digits"),
        ("metadata", {"Upper": "x"}, "lower-case"),
        ("metadata", {"a": "line\r\nbreak"}, "printable ASCII"),
        ("metadata", {"a": ""}, "1 to 256"),
        ("metadata", {f"n{number}": "x" * 250 for number in range(9)}, "at most 2000"),
        ("transfers", 0, "greater"),
        ("transfers", 17, "less"),
        ("timeout", 0, "greater"),
        ("connect_timeout", -1, "greater"),
        ("naming", "{PatientID}.dcm", "SOPInstanceUID"),
        ("direction", "query", "cannot be queried"),
        ("host", "s3.example.org", "no such field"),
    ],
)
def test_what_is_wrong_is_named(field, value, said):
    with pytest.raises(ConfigError) as caught:
        target(**{field: value})
    (problem,) = caught.value.problems
    assert said in problem.message
    if field != "naming":  # what needs several fields is about the target
        assert problem.field == field


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"access_key": "a"}, "go together"),
        ({"secret_key": "b"}, "go together"),
        ({"kms_key": "alias/a"}, "encryption: aws:kms"),
        ({"kms_key": "alias/a", "encryption": "AES256"}, "encryption: aws:kms"),
        ({"ca": "/ca.pem", "endpoint": "http://10.0.0.5"}, "without https"),
    ],
)
def test_what_does_not_fit_together_is_said(changes, said):
    with pytest.raises(ConfigError, match=said):
        target(**changes)


@pytest.mark.parametrize(
    ("changes", "url", "address"),
    [
        ({}, "https://s3.us-east-1.amazonaws.com", ("images.s3.us-east-1.amazonaws.com", 443)),
        (
            {"region": "cn-north-1"},
            "https://s3.cn-north-1.amazonaws.com.cn",
            ("images.s3.cn-north-1.amazonaws.com.cn", 443),
        ),
        (
            {"region": "eu-west-1", "bucket": "a.b"},
            "https://s3.eu-west-1.amazonaws.com",
            ("s3.eu-west-1.amazonaws.com", 443),
        ),
        ({"endpoint": "http://10.0.0.5:9000/"}, "http://10.0.0.5:9000", ("10.0.0.5", 9000)),
        ({"endpoint": "https://[::1]"}, "https://[::1]", ("::1", 443)),
        (
            {"endpoint": "http://store", "path_style": False},
            "http://store",
            ("images.store", 80),
        ),
    ],
)
def test_where_a_bucket_is(changes, url, address):
    found = target(**changes)
    assert found.url == url
    assert found.address == address


def test_slashes_around_a_prefix_mean_nothing():
    assert target(prefix="/in/ct/").prefix == "in/ct"


def test_the_secret_does_not_show():
    found = target(access_key="AKID", secret_key="s3cret-s3cret")
    assert "s3cret-s3cret" not in repr(found)
    assert found.secret_key.reveal() == "s3cret-s3cret"

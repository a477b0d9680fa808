"""TLS and limits in the configuration: what is a mistake, and how it is told."""

from typing import Any

import pytest

from crossdock.config import parse_gateway
from crossdock.config.snapshot import parse_object
from crossdock.dicom.tls import TlsFiles
from crossdock.errors import ConfigError


NODE: dict[str, Any] = {"name": "main", "ae_title": "GATE", "port": 11112, "accept": "any"}
TARGET: dict[str, Any] = {
    "name": "archive",
    "type": "dicom+tls",
    "host": "archive",
    "port": 2762,
    "called_ae_title": "ARCHIVE",
}


def problem(kind: str, document: dict[str, Any]) -> tuple[str, str]:
    with pytest.raises(ConfigError) as raised:
        parse_object(kind, document)
    (found,) = raised.value.problems
    return found.field, found.message


@pytest.mark.parametrize(
    ("tls", "field", "words"),
    [
        ({}, "tls.certificate", "is missing"),
        ({"certificate": "node.pem", "ca": "/ca"}, "tls.certificate", "absolute path"),
        ({"certificate": "/node.pem"}, "tls", "name the ca that signs your senders"),
        ({"certificate": "/c", "ca": "/ca", "key_password": "x"}, "tls.key_password", "no such"),
        (
            {"certificate": "/c", "ca": "/ca", "minimum_version": "1.1"},
            "tls.minimum_version",
            "'1.2' or '1.3'",
        ),
    ],
)
def test_a_mistake_in_the_tls_of_a_node_is_named(
    tls: dict[str, Any], field: str, words: str
) -> None:
    found, message = problem("store_nodes", NODE | {"tls": tls})
    assert found == field
    assert words in message


def test_a_source_with_a_certificate_needs_tls_that_asks_for_one() -> None:
    sources = [{"ae_title": "CT1", "certificate": "ct1.hospital"}]
    node = NODE | {"accept": None, "sources": sources}
    assert "needs tls" in problem("store_nodes", node)[1]
    anonymous = {"certificate": "/c", "client_certificate": "none"}
    assert "needs tls" in problem("store_nodes", node | {"tls": anonymous})[1]
    parse_object("store_nodes", node | {"tls": {"certificate": "/c", "ca": "/ca"}})


@pytest.mark.parametrize("limit", [0, 1001])
def test_the_limit_of_associations_has_limits(limit: int) -> None:
    assert problem("store_nodes", NODE | {"max_associations": limit})[0] == "max_associations"


def test_tls_to_a_target_may_be_empty_and_checks_the_host_name() -> None:
    for document in (TARGET, TARGET | {"tls": {}}):
        target: Any = parse_object("targets", document)
        assert target.tls_files == TlsFiles(check_hostname=True)


def test_a_target_without_tls_has_no_settings_for_it() -> None:
    plain = TARGET | {"type": "dicom"}
    assert problem("targets", plain | {"tls": {}}) == ("tls", "there is no such field")
    target: Any = parse_object("targets", plain)
    assert target.tls_files is None


def test_a_key_without_its_certificate_is_a_mistake() -> None:
    assert "certificate" in problem("targets", TARGET | {"tls": {"key": "/k"}})[1]


def test_tls_survives_being_written_down_and_read_again() -> None:
    tls = {"certificate": "/c", "ca": "/ca", "minimum_version": "1.3"}
    source = {"certificate": "ct1.hospital", "max_associations": 2}
    gateway = parse_gateway(
        {
            "store_nodes": [NODE | {"accept": None, "sources": [source], "tls": tls}],
            "targets": [TARGET | {"tls": {"ca": "/ca"}, "convert_refused": False}],
        }
    )
    assert parse_gateway(gateway.document()) == gateway

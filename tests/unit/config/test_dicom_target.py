"""The settings of DICOM targets: what is legal works, and what is not is named by its field."""

import ipaddress
import string
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossdock.config import parse_gateway
from crossdock.config.snapshot import parse_object
from crossdock.dicom.uids import TRANSFER_SYNTAXES
from crossdock.errors import ConfigError


TARGET: dict[str, Any] = {
    "name": "archive",
    "type": "dicom",
    "host": "archive",
    "port": 104,
    "called_ae_title": "ARCHIVE",
}
IMPLICIT, EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
JPEG_BASELINE, JPEG_LS = "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.80"
TITLE_LETTERS = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) != "\\")


def parse(**changes: object) -> Any:
    return parse_object("targets", TARGET | changes)


def field_of(**changes: object) -> str:
    with pytest.raises(ConfigError) as raised:
        parse(**changes)
    (found,) = raised.value.problems
    assert found.message
    return found.field


@given(st.text(TITLE_LETTERS, min_size=1, max_size=16).filter(str.strip))
def test_every_legal_ae_title_is_taken_without_its_padding(title: str) -> None:
    target = parse(called_ae_title=title, calling_ae_title=title)
    assert target.called_ae_title == target.calling_ae_title == title.strip(" ")


@pytest.mark.parametrize("title", ["MY.PACS", "PACS 1", "a-b_c", "{$(x)}`'\"", "ORTHANC#1"])
def test_dots_inner_spaces_and_all_else_that_the_standard_allows_are_legal(title: str) -> None:
    assert parse(called_ae_title=title).called_ae_title == title


@given(
    st.text(max_size=20).filter(
        lambda title: (
            not title.strip(" ")
            or len(title.strip(" ")) > 16
            or any(letter not in TITLE_LETTERS for letter in title.strip(" "))
        )
    )
)
def test_every_other_ae_title_is_refused_by_its_field(title: str) -> None:
    assert field_of(called_ae_title=title) == "called_ae_title"
    assert field_of(calling_ae_title=title) == "calling_ae_title"


@given(st.ip_addresses())
def test_every_address_is_a_host(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    assert parse(host=str(address)).host == str(address)
    if address.version == 6:
        assert parse(host=f"[{address}]").host == str(address)


@given(st.from_regex(r"\A[A-Za-z0-9_]([A-Za-z0-9_.-]{0,60}[A-Za-z0-9_.])?\Z"))
def test_every_host_name_is_a_host_also_with_underscores(host: str) -> None:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        assert parse(host=host).host == host


@given(
    st.text(max_size=30).filter(
        lambda host: set(host) - set(string.ascii_letters + string.digits + "._-:[]%")
    )
)
def test_what_is_no_host_is_refused_by_its_field(host: str) -> None:
    assert field_of(host=host) == "host"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("port", 0),
        ("port", 65536),
        ("max_pdu", 4095),
        ("associations", 0),
        ("associations", 17),
        ("window", 0),
        ("timeout", 0),
        ("connect_timeout", -1),
        ("convert_to", "jpeg-2000"),
        ("convert_to", JPEG_LS),
        ("pass_called_ae_title", "perhaps"),
        ("called_ae_title", None),
    ],
)
def test_an_illegal_value_is_refused_by_its_field(field: str, value: object) -> None:
    assert field_of(**{field: value}) == field


@pytest.mark.parametrize("value", ["jpeg", "1.2.x", "1..2", "", "12", "1." + "2" * 63])
def test_what_is_no_transfer_syntax_is_refused_by_its_place(value: str) -> None:
    assert field_of(transfer_syntaxes=["jpeg-lossless", value]) == "transfer_syntaxes[1]"


def test_transfer_syntaxes_go_by_name_and_private_ones_by_uid() -> None:
    target = parse(transfer_syntaxes=["jpeg-baseline", IMPLICIT, "1.2.3.4"])
    assert target.transfer_syntaxes == ("jpeg-baseline", "implicit-vr-little-endian", "1.2.3.4")
    assert target.proposed == {JPEG_BASELINE, IMPLICIT, "1.2.3.4"}
    assert parse().proposed is None


def test_what_is_converted_to_must_be_allowed() -> None:
    listed = ["explicit-vr-little-endian"]
    assert field_of(convert_to="rle-lossless", transfer_syntaxes=listed) == "convert_to"
    assert parse(convert_to="rle-lossless", transfer_syntaxes=[*listed, "rle-lossless"])


@pytest.mark.parametrize("name", sorted(set(TRANSFER_SYNTAXES) - {"jpeg-ls-lossless"}))
def test_what_is_compressed_stays_as_it_is_unless_asked_for(name: str) -> None:
    uid = TRANSFER_SYNTAXES[name]
    careful = parse(convert_to="jpeg-ls-lossless")
    thorough = parse(convert_to="jpeg-ls-lossless", convert_only_uncompressed=False)
    plain = name.endswith("-endian")
    assert careful.preferred(uid) == (JPEG_LS if plain else uid)
    assert thorough.preferred(uid) == JPEG_LS
    assert parse().preferred(uid) == uid


@pytest.mark.parametrize("type_", ["dicom", "dicom+tls"])
def test_a_target_survives_its_own_document(type_: str) -> None:
    document = TARGET | {
        "type": type_,
        "host": "sender",
        "pass_calling_ae_title": True,
        "transfer_syntaxes": [EXPLICIT, "jpeg-ls-lossless"],
        "convert_to": "jpeg-ls-lossless",
        "commitment": {},
        "delivered_means": "committed",
    }
    gateway = parse_gateway({"targets": [document]})
    assert parse_gateway(gateway.document()) == gateway


def test_what_is_final_when_committed_needs_commitment() -> None:
    assert field_of(delivered_means="committed") == "delivered_means"
    assert field_of(commitment={"ask_again": -1}) == "commitment.ask_again"
    assert parse().commitment is None
    assert parse(commitment={}).delivered_means == "stored"


def test_results_of_commitment_must_be_heard_by_a_store_node_of_our_title() -> None:
    node = {"name": "main", "ae_title": "OTHER", "port": 11112, "accept": "any"}
    target = TARGET | {"type": "dicom", "commitment": {"listen": "main"}}
    for nodes, words in (([], "no store node 'main'"), ([node], "results would be refused")):
        with pytest.raises(ConfigError) as caught:
            parse_gateway({"targets": [target], "store_nodes": nodes})
        (problem,) = caught.value.problems
        assert problem.field == "targets[0].commitment.listen"
        assert words in problem.message
    passing = target | {"pass_calling_ae_title": True}
    named = node | {"ae_title": "CROSSDOCK"}
    with pytest.raises(ConfigError):
        parse_gateway({"targets": [passing], "store_nodes": [named]})
    for changes in ({"ae_title": "CROSSDOCK"}, {"check_called_ae_title": False}):
        assert parse_gateway({"targets": [target], "store_nodes": [node | changes]})

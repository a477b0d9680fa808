import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossdock.protocols.dicomweb.report import names_instance, read_report


STORED = {"00081199": {"vr": "SQ", "Value": [{"00081155": {"vr": "UI", "Value": ["1.2"]}}]}}


def test_a_dataset_and_a_list_of_one_say_the_same() -> None:
    assert read_report(json.dumps(STORED).encode()).stored == {"1.2": 0}
    assert read_report(json.dumps([STORED]).encode()).stored == {"1.2": 0}


def test_what_failed_is_not_stored_even_if_it_is_said_to_be() -> None:
    failed = {"00081198": STORED["00081199"]}
    report = read_report(json.dumps(STORED | failed).encode())
    assert report.stored == {}
    assert report.failed == {"1.2": None}


@pytest.mark.parametrize(
    ("reason", "number"),
    [(272, 272), ("272", 272), ("B000", None), (-1, None), (65536, None), ([], None), (1.5, None)],
)
def test_a_reason_is_a_number_of_two_bytes(reason: object, number: int | None) -> None:
    item = {"00081155": {"Value": ["1.2 "]}, "00081197": {"Value": [reason]}}
    report = read_report(json.dumps({"00081198": {"Value": [item]}}).encode())
    assert report.failed == {"1.2": number}


ODD = [
    b"",
    b"[" * 100_000,
    b"{" * 100_000,
    b"\xff\xfe",
    b"null",
    b"7",
    b'"text"',
    b"NaN",
    b'{"00081199": 1}',
    b'{"00081199": {"Value": 1}}',
    b'{"00081199": {"Value": [1, [], null, {}]}}',
    b'{"00081199": {"Value": [{"00081155": {"Value": [{}]}}]}}',
    b'{"00081199": {"Value": [{"00081155": {"Value": [null]}}]}}',
    b"<a>",
    b"<a/>",
    b"<" * 1000,
    b"<Item><Value>1</Value></Item>",
    b"<Value>1</Value>",
    b"<a>" * 1000 + b"</a>" * 1000,
    b'<!DOCTYPE a [<!ENTITY b "cc">]><a>&b;</a>',
    b'<!DOCTYPE a SYSTEM "file:///etc/passwd"><a/>',
]


@pytest.mark.parametrize("body", ODD)
def test_what_is_no_report_names_nobody(body: bytes) -> None:
    report = read_report(body)
    assert not report.stored
    assert not report.failed
    assert not names_instance(body, "1.2")


@given(st.binary(max_size=200))
def test_no_bytes_upset_it(body: bytes) -> None:
    read_report(body)


PIECES = [
    '<DicomAttribute tag="00081199">',
    "</DicomAttribute>",
    "<Item>",
    "</Item>",
    "<Value>",
    "</Value>",
    "1.2",
    '<DicomAttribute tag="00081155">',
]


@given(st.lists(st.sampled_from(PIECES), max_size=12))
def test_no_order_of_xml_upsets_it(pieces: list[str]) -> None:
    read_report(f"<a>{''.join(pieces)}</a>".encode())


def test_entities_do_not_grow() -> None:
    rows = "".join(f'<!ENTITY a{number} "{f"&a{number - 1};" * 10}">' for number in range(1, 10))
    body = f'<!DOCTYPE a [<!ENTITY a0 "x">{rows}]><a><Value>&a9;</Value></a>'.encode()
    assert not read_report(body).stored

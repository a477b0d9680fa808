"""Cutting streams into PDUs, and command sets, whatever the bytes are."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossdock.dicom import associate, dimse, negotiation, pdu
from crossdock.dicom.associate import Associate, Context, Role, UserInformation
from crossdock.dicom.errors import ProtocolError
from crossdock.dicom.pdu import LAST, Fragment, Pdu, PduStream
from crossdock.dicom.reception import CommandBuffer


CT = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"

uids = st.from_regex(r"[0-9]{1,5}(\.[0-9]{1,5}){0,5}", fullmatch=True)


def cut(data: bytes, sizes: list[int], max_length: int = 0) -> list[Fragment | Pdu]:
    """Feed ``data`` in pieces of these sizes, and the rest at once."""
    stream, items, tail = PduStream(max_length), [], b""
    for size in [*sizes, len(data)]:
        piece, data = tail + data[:size], data[size:]
        found, used = stream.feed(memoryview(piece))
        tail = piece[used:]
        assert len(tail) < 6
        items += [
            Fragment(item.context_id, item.control, memoryview(bytes(item.data)))
            if isinstance(item, Fragment)
            else item
            for item in found
        ]
    return items


@given(st.binary(max_size=3000), st.lists(st.integers(1, 50)), st.integers(0, 2000))
def test_any_bytes_are_cut_or_refused(data: bytes, sizes: list[int], max_length: int) -> None:
    with suppress(ProtocolError):
        cut(data, sizes, max_length)


@given(
    st.lists(
        st.tuples(st.integers(0, 255), st.integers(0, 3), st.binary(max_size=400)), min_size=1
    ),
    st.lists(st.integers(1, 300)),
    st.integers(1, 4),
)
def test_however_a_stream_is_cut_the_values_are_the_same(
    values: list[tuple[int, int, bytes]], sizes: list[int], per_pdu: int
) -> None:
    encoded = [
        (len(data) + 2).to_bytes(4, "big") + bytes((context, control)) + data
        for context, control, data in values
    ]
    stream = b"".join(
        pdu.encode(pdu.P_DATA_TF, b"".join(encoded[start : start + per_pdu]))
        for start in range(0, len(encoded), per_pdu)
    )
    joined: list[tuple[int, int, bytes]] = []
    open_data = b""
    expected = iter(values)
    current = next(expected)
    for item in cut(stream, sizes):
        assert isinstance(item, Fragment)
        open_data += item.data
        if len(open_data) == len(current[2]) and item.control == current[1]:
            joined.append((item.context_id, item.control, open_data))
            open_data = b""
            current = next(expected, (0, 0, b""))
        else:
            assert not item.control & LAST
    assert joined == values


def test_a_pdu_that_is_too_long_is_refused_at_its_header() -> None:
    with pytest.raises(ProtocolError, match="length 16385"):
        cut(b"\x04\0\0\0\x40\x01", [], 16384)
    with pytest.raises(ProtocolError):
        cut(b"\x01\0\x7f\xff\xff\xff", [])


@given(st.binary(max_size=500))
def test_any_bytes_are_a_command_or_refused(data: bytes) -> None:
    with suppress(ProtocolError):
        dimse.decode(data)


@given(st.binary(max_size=2000))
def test_any_bytes_are_an_association_or_refused(data: bytes) -> None:
    try:
        asked = associate.decode(bytes(68) + data)
    except ProtocolError:
        return
    associate.encode_answer(negotiation.answer(asked, 16384))


@given(st.integers(1, 65535), uids, uids, st.integers(2, 300))
def test_a_command_survives_its_encoding(
    message_id: int, sop_class_uid: str, sop_instance_uid: str, max_data: int
) -> None:
    request = dimse.store_request(message_id, sop_class_uid, sop_instance_uid)
    buffer, found = CommandBuffer(), None
    for item in cut(pdu.encode_command(5, request, max_data), []):
        assert isinstance(item, Fragment)
        found = buffer.add(item)
    assert found is not None
    assert (found.field, found.message_id, found.has_dataset) == (1, message_id, True)
    assert (found.sop_class_uid, found.sop_instance_uid) == (sop_class_uid, sop_instance_uid)
    answer = dimse.decode(dimse.response(found, 0xB007))
    assert (answer.field, answer.responded_to, answer.status) == (0x8001, message_id, 0xB007)
    assert (answer.has_dataset, answer.sop_instance_uid) == (False, sop_instance_uid)


@given(
    st.lists(st.tuples(uids, st.lists(uids, min_size=1, max_size=4)), min_size=1, max_size=128),
    st.integers(0, 2**32 - 1),
    st.none() | st.tuples(st.integers(0, 65535), st.integers(0, 65535)),
    st.lists(st.tuples(uids, st.booleans(), st.booleans()), max_size=3),
    st.lists(st.tuples(uids, st.binary(max_size=9)), max_size=3),
)
def test_a_request_survives_its_encoding(
    contexts: list[tuple[str, list[str]]],
    max_length: int,
    window: tuple[int, int] | None,
    roles: list[tuple[str, bool, bool]],
    extended: list[tuple[str, bytes]],
) -> None:
    asked = Associate(
        called=associate.write_ae_title("CALLED"),
        calling=associate.write_ae_title("A TITLE THAT IS TOO LONG"),
        contexts=tuple(
            Context(number * 2 + 1, uid, tuple(syntaxes))
            for number, (uid, syntaxes) in enumerate(contexts)
        ),
        user=UserInformation(
            max_length=max_length,
            window=window,
            roles=tuple(Role(*role) for role in roles),
            extended=tuple(extended),
        ),
    )
    assert associate.decode(associate.encode_request(asked)) == asked
    assert (asked.called_ae_title, asked.calling_ae_title) == ("CALLED", "A TITLE THAT IS")


def test_the_first_proposed_transfer_syntax_is_chosen() -> None:
    jpeg = "1.2.840.10008.1.2.4.50"
    asked = Associate(
        b"A" * 16,
        b"B" * 16,
        (
            Context(1, CT, (jpeg, EXPLICIT)),
            Context(3, CT, ()),
            Context(5, "not a uid", (jpeg,)),
            Context(7, "1.2.840.10008.5.1.4.1.2.1.1", (EXPLICIT,)),
            Context(9, "1.2.840.10008.5.1.4.1.1.999999", (EXPLICIT,)),
        ),
    )
    answers = negotiation.answer(asked, 1).contexts
    assert [context.result for context in answers] == [0, 4, 3, 3, 0]
    assert answers[0].transfer_syntaxes == (jpeg,)


@pytest.mark.parametrize(
    ("asked", "granted"),
    [((1, 1), (1, 1)), ((0, 0), (64, 1)), ((100, 5), (64, 1)), ((8, 0), (8, 1))],
)
def test_a_window_is_granted_up_to_64(asked: tuple[int, int], granted: tuple[int, int]) -> None:
    request = Associate(b"A" * 16, b"B" * 16, (), UserInformation(window=asked))
    assert negotiation.answer(request, 1).user.window == granted


@pytest.mark.parametrize(
    ("advertised", "data"), [(0, 131066), (16384, 16378), (16385, 16378), (1, 2), (10**9, 131066)]
)
def test_data_fits_into_the_pdus_that_a_peer_takes(advertised: int, data: int) -> None:
    assert pdu.max_data(advertised, 131072) == data


def test_what_is_not_printable_in_an_ae_title_is_replaced() -> None:
    assert associate.read_ae_title(b" CT\n\x1b[1m\xff \0\0\0") == "CT??[1m?"

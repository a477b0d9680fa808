"""Damages valid input in the ways that find mistakes: lengths, cuts, repeats, single bits."""

from random import Random


_LENGTHS = (0, 1, 2, 3, 4, 5, 6, 7, 8, 255, 256, 0x7FFF, 0xFFFE, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF)


def damaged(seed: bytes, random: Random) -> bytes:
    """Return ``seed`` after one to six of the changes below."""
    data = bytearray(seed)
    for _ in range(random.randint(1, 6)):
        random.choice(_CHANGES)(data, random)
    return bytes(data)


def _flip(data: bytearray, random: Random) -> None:
    if data:
        data[random.randrange(len(data))] ^= 1 << random.randrange(8)


def _overwrite(data: bytearray, random: Random) -> None:
    at = random.randint(0, len(data))
    data[at : at + random.randint(1, 16)] = random.randbytes(random.randint(1, 16))


def _lie(data: bytearray, random: Random) -> None:
    """Put a number where a length may be."""
    size = random.choice((2, 4))
    number = random.choice(_LENGTHS) & (1 << 8 * size) - 1
    at = random.randint(0, len(data))
    data[at : at + size] = number.to_bytes(size, random.choice(("big", "little")))


def _cut(data: bytearray, random: Random) -> None:
    del data[random.randint(0, len(data)) :]


def _leave_out(data: bytearray, random: Random) -> None:
    at = random.randint(0, len(data))
    del data[at : at + random.randint(1, 64)]


def _repeat(data: bytearray, random: Random) -> None:
    start = random.randint(0, len(data))
    piece = data[start : start + random.randint(1, 200)]
    data[start:start] = piece * random.randint(1, 4)


_CHANGES = (_flip, _flip, _overwrite, _lie, _lie, _cut, _leave_out, _repeat)

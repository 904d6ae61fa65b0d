"""From a good file to a bad one: flips, cuts, lengths, splices, counts and nesting."""

from __future__ import annotations

import random
import re

_WORDS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 1 << 40, (1 << 64) - 1)
_NUMBERS = (b"-1", b"0", b"1e9", b"1000000000", b"99999999999999999999", b"1e400", b"nan", b"null", b"[]", b'""')
_NESTS = ((b"[", b"]"), (b"{", b"}"), (b'{"a":', b"}"), (b"layer {", b"}"), (b"(", b")"))


def mutant(seeds: list[bytes], rng: random.Random) -> bytes:
    """One to three mutations of one of `seeds`."""
    raw = rng.choice(seeds)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        raw = rng.choice(_KINDS)(raw, seeds, rng) if raw else raw
    return raw


def _flip(raw: bytes, seeds: list[bytes], rng: random.Random) -> bytes:
    data = bytearray(raw)
    for _ in range(rng.choice((1, 1, 2, 8, 64))):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(data)


def _cut(raw: bytes, seeds: list[bytes], rng: random.Random) -> bytes:
    at = rng.randrange(len(raw))
    return raw[:at] if rng.random() < 0.5 else raw[:at] + raw[at + rng.choice((1, 4, 16, 300)) :]


def _length(raw: bytes, seeds: list[bytes], rng: random.Random) -> bytes:
    """A number of the file, binary or in digits, becomes an extreme one."""
    digits = [m.span() for m in re.finditer(rb"-?\d+(\.\d+)?", raw)] if rng.random() < 0.5 else []
    if digits:
        start, end = rng.choice(digits)
        return raw[:start] + rng.choice(_NUMBERS) + raw[end:]
    size = rng.choice((1, 2, 4, 8))
    value = rng.choice(_WORDS) & ((1 << 8 * size) - 1)
    at = rng.randrange(len(raw))
    return raw[:at] + value.to_bytes(size, rng.choice(("little", "big"))) + raw[at + size :]


def _splice(raw: bytes, seeds: list[bytes], rng: random.Random) -> bytes:
    other = rng.choice(seeds)
    if rng.random() < 0.5:
        return raw[: rng.randrange(len(raw))] + other[rng.randrange(len(other)) :]
    at, start = rng.randrange(len(raw)), rng.randrange(len(other))
    return raw[:at] + other[start : start + rng.choice((1, 4, 16, 300))] + raw[at:]


def _count(raw: bytes, seeds: list[bytes], rng: random.Random) -> bytes:
    """A piece, or a line, many times."""
    times = rng.choice((2, 10, 1000))
    lines = raw.splitlines(keepends=True)
    if len(lines) > 2 and rng.random() < 0.5:
        at = rng.randrange(len(lines))
        return b"".join(lines[:at] + lines[at : at + 1] * times + lines[at:])
    at, size = rng.randrange(len(raw)), rng.choice((1, 8, 32))
    return raw[:at] + raw[at : at + size] * times + raw[at:]


def _nest(raw: bytes, seeds: list[bytes], rng: random.Random) -> bytes:
    opening, closing = rng.choice(_NESTS)
    depth = rng.choice((2, 40, 2000))
    start, end = sorted((rng.randrange(len(raw) + 1), rng.randrange(len(raw) + 1)))
    return raw[:start] + opening * depth + raw[start:end] + closing * depth + raw[end:]


def _bytes(raw: bytes, seeds: list[bytes], rng: random.Random) -> bytes:
    at, size = rng.randrange(len(raw)), rng.choice((1, 4, 8, 100))
    return raw[:at] + bytes([rng.choice((0, 0x20, 0xFF, rng.randrange(256)))]) * size + raw[at + size :]


_KINDS = (_flip, _cut, _length, _splice, _count, _nest, _bytes)

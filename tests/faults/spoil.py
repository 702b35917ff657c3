"""Damage to a file."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random
    from collections.abc import Callable
    from pathlib import Path


def cut(content: bytes, chance: random.Random) -> bytes:
    return content[: chance.randrange(len(content))]


def flipped(content: bytes, chance: random.Random) -> bytes:
    wrong = bytearray(content)
    wrong[chance.randrange(len(wrong))] ^= 1 << chance.randrange(8)
    return bytes(wrong)


def emptied(_content: bytes, _chance: random.Random) -> bytes:
    return b""


def lengthened(content: bytes, chance: random.Random) -> bytes:
    return content + chance.randbytes(1 + chance.randrange(9))


def garbled(content: bytes, chance: random.Random) -> bytes:
    return b"{" + chance.randbytes(len(content))


def zeroed(content: bytes, _chance: random.Random) -> bytes:
    return bytes(len(content))


def removed(_content: bytes, _chance: random.Random) -> None:
    return None


WAYS: tuple[Callable[[bytes, random.Random], bytes | None], ...] = (
    cut, flipped, emptied, lengthened, garbled, zeroed, removed,
)  # fmt: skip


def spoil(path: Path, chance: random.Random) -> str:
    """Damage a file in one of these ways and return which."""
    content = path.read_bytes()
    way = chance.choice(WAYS) if content else removed
    wrong = way(content, chance)
    if wrong is None:
        path.unlink()
    else:
        path.write_bytes(wrong)
    return way.__name__

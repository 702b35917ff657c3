"""Which shapes static caches have: few enough that all of them can be captured, near enough that little is wasted."""

from __future__ import annotations

from bisect import bisect_left

#: Tokens by which room for prompts grows; from eight times as many on by steps of an eighth of the next power of two.
_STEP = 64


def prompts(capacity: int) -> tuple[int, ...]:
    """Return how many prompts a captured step may have, ascending: powers of two, what lies half-way, and all.

    At most a third of a bucket is prompts that have left.
    """
    sizes = {capacity}
    size = 1
    while size < capacity:
        sizes |= {each for each in (size, size + size // 2) if each < capacity}
        size *= 2
    return tuple(sorted(sizes))


def smallest(sizes: tuple[int, ...], needed: int) -> int:
    """Return the least of ascending ``sizes`` that holds ``needed``."""
    return sizes[bisect_left(sizes, needed)]


def capacity(batch: int) -> int:
    """Return for how many prompts a cache is made that is asked for ``batch``: batches differ by a few."""
    return smallest(prompts(2 * batch), batch)


def width(longest: int) -> int:
    """Return for how many tokens of a prompt a cache has room, that is asked for ``longest``."""
    step = max(_STEP, 1 << max(0, (longest - 1).bit_length() - 3))
    return -(-longest // step) * step


def room(steps: int) -> int:
    """Return for how many steps a cache has room, that is asked for ``steps``: kernels read masks by eight numbers."""
    return -(-steps // 8) * 8

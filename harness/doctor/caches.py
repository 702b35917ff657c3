"""What lies on disk and may be removed, with its size."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from harness.doctor.finding import Finding, bytes_text

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Folders of a store that no table reads, with what is in them.
_ASIDE: Final = {
    ".corrupt": "stages that were damaged, put aside", ".failed": "tracebacks of stages that failed",
    ".drafts": "what stages under way have written",
}  # fmt: skip
#: Files that are counted at most: a cache may have a million.
_MOST: Final = 200_000


def check_caches(results: Path, hub: Path | None = None) -> Iterator[Finding]:
    """Say how large the hub's cache and what a store keeps beside its stages are."""
    if hub is None:
        from huggingface_hub.constants import HF_HUB_CACHE

        hub = Path(HF_HUB_CACHE)
    size = size_of(hub)
    if size:
        do = "hf cache prune, or hf cache rm for single ones; they are downloaded again when they are asked for"
        yield Finding("cache", "notes", f"models and data of the hub: {bytes_text(size)} in {hub}", do=do)
    kept = size_of(results / "store" / "cache")
    if kept:
        yield Finding(
            "cache", "notes", f"replies of judges, and the like: {bytes_text(kept)} in {results}/store/cache",
            do="leave it: what is removed is bought, or made, again",
        )  # fmt: skip
    for name, what in _ASIDE.items():
        size = size_of(results / "store" / name)
        if size:
            yield Finding(
                "cache", "notes", f"{what}: {bytes_text(size)} in {results}/store/{name}",
                do="it may be removed while nothing runs",
            )  # fmt: skip


def size_of(folder: Path) -> int:
    """Return the bytes of the files below a folder; links are not followed, and a large number is not counted out."""
    total = 0
    counted = 0
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                status = os.lstat(os.path.join(place, name))  # noqa: PTH118  # for hundreds of thousands
            except OSError:
                continue
            total += status.st_size
            counted += 1
        if counted > _MOST:
            break
    return total

"""Signatures in the manner of sacrebleu: what must be equal for two numbers on the same data to be comparable.

They tell implementation, version and options. What belongs to the data, such as the number of references, is not in
them: a table has one metric on several data sets.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


def signature(metric: str, *, packages: Iterable[str] = (), **options: object) -> str:
    """Return ``metric|option:value|…|posttune-harness:version|package:version``; options stay in their order.

    ``packages`` are the distributions whose version can change a value.
    """
    parts = [metric]
    for name, value in options.items():
        shown = "yes" if value is True else "no" if value is False else value
        parts.append(f"{name}:{shown}")
    parts += [f"{package}:{version(package)}" for package in ("posttune-harness", *packages)]
    return "|".join(parts)

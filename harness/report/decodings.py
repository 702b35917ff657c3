"""What headings and sentences call a way of decoding."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.spec.decoding import Decoding


def decoding_name(decodings: Mapping[str, Decoding], name: str) -> str:
    """Return ``T = 1`` or ``greedy``; the file's own name where that would be the same for two of its decodings."""
    said = _said(decodings[name])
    alike = [other for other, settings in decodings.items() if _said(settings) == said]
    return said if alike == [name] else name


def in_sentence(decodings: Mapping[str, Decoding], name: str) -> str:
    """Return ``at T = 1``, ``when greedy`` or ``under NAME``: what stands behind the name of a data set."""
    said = decoding_name(decodings, name)
    if said == name and _said(decodings[name]) != name:
        return f"under {name}"
    return "when greedy" if said == "greedy" else f"at {said}"


def _said(settings: Decoding) -> str:
    if settings.temperature == 0:
        return "greedy"
    said = f"T = {settings.temperature:g}"
    if settings.top_k:
        said += f", top-k {settings.top_k}"
    return said + (f", top-p {settings.top_p:g}" if settings.top_p < 1 else "")

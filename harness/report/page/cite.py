"""How results are cited: the harness, and the run that they are of."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.spec.results.run import RunManifest

#: What TeX would read as something else than itself.
_SPECIAL = {
    **{letter: f"\\{letter}" for letter in "#$%&_"},
    "{": r"\textbraceleft{}", "}": r"\textbraceright{}", "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
}  # fmt: skip


def citation(manifest: RunManifest, sha256: str) -> str:
    """Return BibTeX of the harness, and of one run by the digest of its manifest.

    Nothing tells when a run was made, so that the entry of a run has no year.
    """
    key = re.sub(r"[^a-z0-9]+", "-", f"{manifest.benchmark}-{manifest.profile}".lower()).strip("-")
    seeds = ", ".join(map(str, manifest.config.seeds))
    harness = {
        "title": "posttune-harness: a benchmark harness for post-fine-tuning methods of language models",
        "author": "The posttune-harness developers",
        "version": manifest.harness,
    }
    run = {
        "title": f"{manifest.title or manifest.benchmark}: results",
        "howpublished": f"posttune-harness {manifest.harness}, benchmark {manifest.benchmark}, profile "
        f"{manifest.profile}, seeds {seeds}",
        "note": f"manifest.json with sha256 {sha256}",
    }
    return _entry("software", "posttune-harness", harness) + "\n" + _entry("misc", f"posttune-{key}", run)


def _entry(kind: str, key: str, fields: Mapping[str, str]) -> str:
    width = max(map(len, fields))
    # a second pair of braces keeps the name of a body whole, and capitals as they are
    lines = [f"  {name:<{width}} = {{{{{_escaped(text)}}}}}," for name, text in fields.items()]
    return "\n".join([f"@{kind}{{{key},", *lines, "}", ""])


def _escaped(text: str) -> str:
    return "".join(_SPECIAL.get(letter, letter) for letter in " ".join(text.split()))

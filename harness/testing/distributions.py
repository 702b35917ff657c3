"""Distributions written to a folder, with real metadata that ``importlib.metadata`` finds; nothing is installed."""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from importlib.metadata import EntryPoint
    from pathlib import Path


def write_distribution(
    folder: Path,
    name: str,
    version: str = "1.0",
    *,
    entry_points: Mapping[str, str],
    modules: Mapping[str, str],
    requires: Sequence[str] = (),
) -> Path:
    """Write modules and their ``.dist-info`` into ``folder`` as pip would leave them.

    Args:
        folder: What :func:`installed` puts on the path; several distributions may share it.
        name: The distribution's name.
        version: Its version.
        entry_points: Target by name, for group ``harness``.
        modules: Source by path below ``folder``: ``{"my_kto/__init__.py": "…"}``.
        requires: Requirement strings, such as ``posttune-harness>=0.1``.

    Returns: the ``.dist-info`` folder.
    """
    for path, source in modules.items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(source, encoding="utf-8")
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    metadata = [f"Name: {name}", f"Version: {version}", *(f"Requires-Dist: {line}" for line in requires)]
    (info / "METADATA").write_text("\n".join(["Metadata-Version: 2.1", *metadata, ""]), encoding="utf-8")
    lines = ["[harness]", *(f"{key} = {target}" for key, target in entry_points.items()), ""]
    (info / "entry_points.txt").write_text("\n".join(lines), encoding="utf-8")
    (info / "INSTALLER").write_text("harness.testing\n", encoding="utf-8")
    record = [*modules, *(f"{info.name}/{file}" for file in ("METADATA", "entry_points.txt", "INSTALLER", "RECORD"))]
    (info / "RECORD").write_text("".join(f"{path},,\n" for path in record), encoding="utf-8")
    return info


@contextlib.contextmanager
def installed(folder: Path) -> Iterator[list[EntryPoint]]:
    """Put ``folder`` on the path for a while and yield the ``harness`` entry points of its distributions.

    Afterwards the path is as before and the modules that came from ``folder`` are forgotten, so that another folder may
    hold other modules of the same names.
    """
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    try:
        yield [
            entry_point
            for distribution in importlib.metadata.distributions(path=[str(folder)])
            for entry_point in distribution.entry_points
            if entry_point.group == "harness"
        ]
    finally:
        sys.path.remove(str(folder))
        for name, module in list(sys.modules.items()):
            path = getattr(module, "__path__", None)
            # torch.classes has a __path__ that is not a list
            places = [getattr(module, "__file__", None), *(path if isinstance(path, Iterable) else ())]
            if any(str(place).startswith(f"{folder}/") for place in places if place):
                del sys.modules[name]
        importlib.invalidate_caches()

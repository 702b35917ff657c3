"""What machines say before anything is made on them: the code and plugins they have, and whether they see the results.

Each is asked by a small task of its own; what would spoil stages is said then, with the machine's name, and not when
hours of training are over.
"""

from __future__ import annotations

import contextlib
import os
import platform
import tempfile
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from harness.api.registration import Kind
from harness.errors import HarnessError, MachineError, PluginError, raise_collected
from harness.spec.plugins import PluginSelection
from harness.spec.section import Frozen
from harness.stages.entries import code_digest
from harness.stages.run import installed
from harness.store.environment import LIBRARIES, fingerprint
from harness.store.files import machine_errors

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

#: Where runs on clusters keep word of their stages, below the store.
JOBS = ".jobs"


class AskedPlugin(Frozen):
    """A plugin that stages will use."""

    kind: Kind
    name: str


class SurveyRequest(Frozen):
    """What a machine is asked."""

    kinds: tuple[str, ...]
    """Of the stages that are to come."""
    used: tuple[AskedPlugin, ...]
    plugins: PluginSelection
    results: Path
    mark: str | None
    """Name of a file that lies below the results (see :func:`marked`); None where the machine need not see them."""


class NodeReport(Frozen):
    """What a machine says."""

    host: str
    python: str
    libraries: dict[str, str]
    code: dict[str, str]
    """The digest of the source of each kind of stage."""
    plugins: dict[str, str]
    """The fingerprint of each plugin, by kind and name; what is wrong with it, where it has none."""
    folder: str | None
    """What is wrong with the folder of results, in words."""


def asked(
    kinds: Iterable[str], used: Iterable[tuple[Kind, str]], plugins: PluginSelection, results: Path
) -> SurveyRequest:
    """Return what the machines of a run are asked."""
    return SurveyRequest(
        kinds=tuple(sorted(kinds)),
        used=tuple(AskedPlugin(kind=kind, name=name) for kind, name in sorted(set(used))),
        plugins=plugins,
        results=results.resolve(),
        mark=None,
    )


@contextlib.contextmanager
def marked(request: SurveyRequest) -> Iterator[SurveyRequest]:
    """Leave a file below the results in the block, by which a machine knows that it sees the same folder."""
    name = f"{uuid.uuid4().hex}.mark"
    path = _place(request.results) / name
    with machine_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name, encoding="utf-8")
    try:
        yield request.model_copy(update={"mark": name})
    finally:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
            path.parent.rmdir()


def surveyed(request: SurveyRequest) -> NodeReport:
    """Return what this machine has."""
    own = fingerprint(threads=1, device="", ranks=1)
    return NodeReport(
        host=platform.node(),
        python=own["python"],
        libraries=own["libraries"],
        code={kind: code_digest(kind) for kind in request.kinds},
        plugins={f"{one.kind} {one.name}": _fingerprint(one, request.plugins) for one in request.used},
        folder=_problem(request),
    )


def _fingerprint(one: AskedPlugin, plugins: PluginSelection) -> str:
    try:
        return installed(plugins).fingerprint(one.kind, one.name)
    except HarnessError as error:  # what is compared with it is a digest
        return str(error)


def _problem(request: SurveyRequest) -> str | None:
    place = _place(request.results)
    if request.mark is None:
        place = Path(tempfile.gettempdir())
    elif not (place / request.mark).is_file():
        return "does not see the folder of results"
    probe = place / f"{platform.node()}-{os.getpid()}-{uuid.uuid4().hex[:8]}.probe"
    try:
        probe.write_text("", encoding="utf-8")
        probe.unlink()
    except OSError as error:
        return f"cannot write where results lie: {error.strerror or error}"
    return None


def _place(results: Path) -> Path:
    return results / "store" / JOBS


def check_nodes(reports: Sequence[NodeReport], request: SurveyRequest) -> list[str]:
    """Compare machines with this one; return what differs and may pass.

    Raises:
        PluginError: one lacks a plugin, or has another one by that name.
        MachineError: one has another release of the harness, or cannot use the folder of results.
        InputErrors: several of these.
    """
    here = surveyed(request.model_copy(update={"mark": None}))
    errors: dict[str, HarnessError] = {}
    for error in (error for report in reports for error in _errors(report, here, request)):
        errors[str(error)] = error
    raise_collected(errors)
    return list(dict.fromkeys(text for report in reports for text in _differences(report, here)))


def _errors(report: NodeReport, here: NodeReport, request: SurveyRequest) -> Iterator[HarnessError]:
    if report.folder is not None:
        hint = (
            "every node needs the folder of --results at the same path, and may write there; "
            "on a Ray cluster where nothing is shared: -o execution.shared=false"
        )
        yield MachineError(report.folder, where=f"node {report.host}", got=str(request.results), hint=hint)
    for name, fingerprint_ in here.plugins.items():
        other = report.plugins[name]
        if other != fingerprint_:
            absent = " " in other  # a message, and no digest
            what = f"lacks the {name}" if absent else f"has another {name} than this machine"
            hint = other if absent else "install the same release there"
            yield PluginError(what, where=f"node {report.host}", hint=hint)
    if report.code != here.code and not any(" " in digest for digest in report.plugins.values()):
        release = report.libraries.get("posttune-harness")
        what = "has other source code of the harness than this machine"
        yield MachineError(what, where=f"node {report.host}", got=release, hint="install the same release there")


def _differences(report: NodeReport, here: NodeReport) -> Iterator[str]:
    theirs, ours = ({"python": one.python, **one.libraries} for one in (report, here))
    differing = [name for name in ("python", *LIBRARIES) if theirs.get(name) != ours.get(name)]
    if differing:
        listed = ", ".join(f"{name} {theirs.get(name)} (here {ours.get(name)})" for name in differing)
        yield f"node {report.host} differs from this machine, and results may by rounding: {listed}"

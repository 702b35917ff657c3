"""``harness doctor``: what of this machine and installation keeps a benchmark from running, or slows it down."""

from __future__ import annotations

import json
import math
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from harness.cli.options import find_file, plugin_option, results_option

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.cli import Application
    from harness.doctor.finding import Finding, Status
    from harness.plugins.registry import Registry


@click.command("doctor", short_help="Look at this machine and installation: what prevents a run, and what is slow.")
@click.argument("file", type=click.Path(path_type=Path), default=Path("dolly"))
@click.option("--profile", metavar="NAME", help="Which profile of the file; the one that it names by default.")
@results_option
@plugin_option
@click.option("--network", is_flag=True, help="Ask hubs and registries too whether they can be reached.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def command(
    application: Application, file: Path, profile: str | None, results: Path, network: bool, as_json: bool
) -> None:
    """Look at packages, plugins, cores, devices, memory, disk, the results folder, the clock and caches.

    Each finding says what was seen, why it matters and what to do. Memory and disk are compared with what is left to do
    of the benchmark FILE. The exit code is 1 where something prevents running. A product of matrices is timed for a
    second; nothing else is computed, and nothing is sent anywhere without --network.
    """
    from harness.doctor.finding import MARKS

    found = []
    for finding in _findings(application, file, profile, results, network=network):
        found.append(finding)
        if not as_json:
            click.echo(str(finding))
    prevented = [finding for finding in found if finding.status == "prevents"]
    if as_json:
        click.echo(json.dumps({"prevented": bool(prevented), "findings": [asdict(one) for one in found]}, indent=1))
    else:
        counts = {status: sum(one.status == status for one in found) for status in MARKS}
        click.echo(", ".join(f"{counts[status]} {word}" for status, word in _WORDS.items() if counts[status]))
    if prevented:
        sys.exit(1)


_WORDS: Final[dict[Status, str]] = {
    "prevents": "prevent a run",
    "warns": "warnings",
    "notes": "notes",
    "fine": "as they should be",
}


def _findings(
    application: Application, file: Path, profile: str | None, results: Path, *, network: bool
) -> Iterator[Finding]:
    from harness.doctor.caches import check_caches
    from harness.doctor.clock import Reading, check_clock
    from harness.doctor.folders import check_results
    from harness.doctor.network import check_network, places
    from harness.doctor.plugins import check_plugins
    from harness.doctor.processor import check_cores, check_devices, cores_allowed
    from harness.doctor.speed import check_speed, frequency, measure, peak, read
    from harness.doctor.versions import check_versions
    from harness.plugins.loader import load_registry

    first = Reading.now()
    yield from check_versions()
    registry = load_registry(blocked=application.blocked, files=application.files, strict=False)
    yield from check_plugins(registry)
    yield from check_cores()
    yield from check_devices()
    measured = measure(max(1, math.floor(cores_allowed())))
    yield from check_speed(measured, peak(read(Path("/proc/cpuinfo")), frequency()))
    yield from _room(registry, file, profile, results)
    yield from check_results(results)
    yield from check_caches(results)
    if network:
        yield from check_network(places())
    yield from check_clock(first, Reading.now())


def _room(registry: Registry, file: Path, profile: str | None, results: Path) -> Iterator[Finding]:
    """Compare memory and disk with what a benchmark needs; one that cannot be planned is a finding itself."""
    from harness.benchmark import load_benchmark
    from harness.doctor.finding import Finding
    from harness.doctor.needs import needs_of
    from harness.doctor.room import check_disk, check_memory, memory
    from harness.errors import HarnessError, InputErrors
    from harness.execution.device import resolve_device
    from harness.execution.places import default_jobs

    try:
        benchmark = load_benchmark(find_file(file), registry=registry, profile=profile)
        device = resolve_device(benchmark.execution.device)
        needs = needs_of(benchmark, registry, results, device=device, jobs=default_jobs(benchmark, device, 1))
    except HarnessError as error:
        errors = error.errors if isinstance(error, InputErrors) else (error,)
        for one in errors:
            what = str(one).replace("\n  ", "; ")
            yield Finding("benchmark", "prevents", what, f"{file} cannot be run", "correct what it says")
        return
    yield from check_memory(memory(), needs)
    yield from check_disk(results, needs)

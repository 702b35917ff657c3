"""Seeds each fault, and demands that its tests notice: ``python tests/seeded/run.py [NAMES]``, or ``tox -e seeded``.

Each fault has a process of its own, forked from one that has imported the large libraries. Its tests must fail with the
fault, one of them at least, by an assertion (or as the fault says), and must all pass without it.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import re
import sys
import tempfile
import time
import traceback
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

HERE = Path(__file__).resolve()
sys.path.insert(0, str(HERE.parents[1]))

from seeded.fault import ROOT, SeedError, install  # noqa: E402  # the folder of tests is no package
from seeded.registry import FAULTS, SEEDS  # noqa: E402  # as above

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from seeded.fault import Seed

#: What all tests wait for, imported once. Nothing of the harness: a fault has to be there first.
_LARGE = (
    "pytest", "torch", "transformers", "hypothesis", "scipy.stats", "pydantic", "click", "safetensors.torch",
    "pandas", "jinja2", "ruamel.yaml", "rich.console", "scipy.optimize",
    "transformers.models.gpt2.modeling_gpt2", "transformers.models.auto.modeling_auto", "transformers.generation",
)  # fmt: skip
_PLUGINS = ("pytest_timeout", "_hypothesis_pytestplugin")
#: Exceptions by which a test says that something is not as it should be.
_ASSERTIONS = frozenset({"AssertionError", "Failed"})


@dataclass(frozen=True)
class Outcome:
    """How a test, or its collection, ended."""

    test: str
    when: str
    """``setup``, ``call``, ``teardown`` or ``collect``."""
    how: str
    """``passed``, ``failed`` or ``skipped``."""
    error: str = ""
    """Exception and message, in one line."""


class Watcher:
    """A plugin of pytest that notes outcomes."""

    def __init__(self) -> None:
        """Note nothing yet."""
        self.outcomes: list[Outcome] = []

    def pytest_exception_interact(self, node: Any, call: Any, report: Any) -> None:
        """Note what was raised."""
        info = call.excinfo
        first = (str(info.value).strip() or report.longreprtext.strip().splitlines()[-1]).splitlines()[0]
        self._note(node.nodeid, getattr(report, "when", "collect"), "failed", f"{info.typename}: {first}")

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Note what went well, and what was left out."""
        if report.skipped or (report.passed and report.when == "call"):
            self._note(report.nodeid, report.when or "", report.outcome, str(report.longrepr or "")[:200])

    def _note(self, *parts: str) -> None:
        self.outcomes.append(Outcome(*parts))


def caught(seed: Seed, outcomes: Sequence[Outcome]) -> Outcome | None:
    """Return the failure that shows the fault; None where there is none."""
    failed = [
        each
        for each in outcomes
        if each.how == "failed" and each.when != "collect" and not each.error.startswith("Failed: Timeout")
    ]
    if seed.says:
        return next((each for each in failed if re.search(seed.says, each.error)), None)
    return next((each for each in failed if each.error.partition(":")[0] in _ASSERTIONS), None)


def run_tests(tests: Sequence[str], fault: str | None, timeout: int) -> list[Outcome]:
    """Run tests in a forked process, with a fault if one is named."""
    with tempfile.TemporaryDirectory() as folder:
        said, found = Path(folder) / "said", Path(folder) / "found"
        child = os.fork()
        if not child:
            code = 1
            try:
                with said.open("wb") as file:
                    os.dup2(file.fileno(), 1)
                    os.dup2(file.fileno(), 2)
                outcomes = _run_here(tests, fault, timeout)
                found.write_text(json.dumps([asdict(each) for each in outcomes]), encoding="utf-8")
                code = 0
            except BaseException:  # noqa: BLE001  # whatever ends it: the parent gets the words
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
        os.waitpid(child, 0)
        if not found.exists():
            message = said.read_text(encoding="utf-8", errors="replace")[-700:]
            return [Outcome(", ".join(tests), "collect", "failed", f"the process ended: {message}")]
        return [Outcome(**each) for each in json.loads(found.read_text(encoding="utf-8"))]


def _run_here(tests: Sequence[str], fault: str | None, timeout: int) -> list[Outcome]:
    import pytest
    from hypothesis import Phase, settings

    watcher = Watcher()
    # that an example fails is enough: to look for a smaller one takes minutes
    settings.register_profile("seeded", phases=[Phase.explicit, Phase.generate])
    settings.load_profile("seeded")
    os.chdir(ROOT)
    if fault is not None:
        install(fault, SEEDS)
    options = ["-q", "-p", "no:cacheprovider", "--tb=short", f"--timeout={timeout}", *([] if fault is None else ["-x"])]
    plugins = [part for name in _PLUGINS for part in ("-p", name)]
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # of all that is installed, two are wanted
    pytest.main([*plugins, *options, *tests], plugins=[watcher])
    return watcher.outcomes


def _chosen(names: Sequence[str]) -> Mapping[str, Seed]:
    """Return the seeds that names ask for: ``S13`` is all of that fault, ``S13.2`` its second seed."""
    if not names:
        return SEEDS
    wrong = [name for name in names if not any(_asked(name, seed) for seed in SEEDS)]
    if wrong:
        raise SystemExit(f"no seed is called {', '.join(wrong)}; there are {', '.join(SEEDS)}")
    return {seed: SEEDS[seed] for seed in SEEDS if any(_asked(name, seed) for name in names)}


def _asked(name: str, seed: str) -> bool:
    return seed == name or seed.partition(".")[0] == name


@contextmanager
def _in_time(what: str) -> Iterator[None]:
    begun = time.monotonic()
    yield
    print(f"{what}: {time.monotonic() - begun:.0f} s", flush=True)


def main() -> int:
    """Run the faults that are asked for; 1 where one is not noticed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="faults, or seeds of a fault; all unless given")
    parser.add_argument("--timeout", type=int, default=240, help="seconds that a test may take")
    parser.add_argument("--without-base", action="store_true", help="do not run the tests without a fault")
    asked = parser.parse_args()
    chosen = _chosen(asked.names)
    for name in _LARGE:
        importlib.import_module(name)
    missed = []
    for name, seed in chosen.items():
        begun = time.monotonic()
        outcomes = run_tests(seed.caught_by, name, asked.timeout)
        failure = caught(seed, outcomes)
        seconds = f"{time.monotonic() - begun:.0f} s"
        if failure is None:
            missed.append(name)
            print(f"{name}: NOT CAUGHT ({seconds})")
            for each in outcomes:
                print(f"    {each.how} at {each.when}: {each.test} {each.error[:900]}")
        else:
            print(f"{name}: caught by {failure.test} ({seconds})\n    {failure.error[:160]}")
        sys.stdout.flush()
    tests = sorted({test for seed in chosen.values() for test in seed.caught_by})
    bad = []
    if not asked.without_base:
        with _in_time(f"{len(tests)} tests without a fault"):
            base = run_tests(tests, None, asked.timeout)
        bad = [each for each in base if each.how != "passed"]
        for each in bad:
            print(f"without a fault: {each.how} at {each.when}: {each.test} {each.error[:900]}")
    faults = {name.partition(".")[0] for name in chosen}
    not_caught = {name.partition(".")[0] for name in missed}
    print(
        f"{len(faults - not_caught)} of {len(faults)} faults caught, {len(chosen) - len(missed)} of {len(chosen)} seeds"
    )
    if not asked.names:
        print(f"{sum(not fault.seeds for fault in FAULTS)} faults cannot be in this code")
    return 1 if missed or bad else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except SeedError as error:
        sys.exit(str(error))

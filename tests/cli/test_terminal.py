"""A terminal that lacks characters shows others in their place: no command ends in a traceback because of one."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from execution.bench import PATIENCE, tiny
from report.synthetic import GREEDY, T1, Run

from harness.cli.terminal import plain, prepare, shown
from harness.testing.distributions import write_distribution

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

#: Terminals: by what they say of themselves, and what Python then takes their encoding for.
TERMINALS = {
    "latin-1": {"PYTHONIOENCODING": "latin-1"},
    "ascii": {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0", "PYTHONIOENCODING": ""},
}

#: A plugin whose words no narrow encoding has, one that cannot be loaded, and a name that is not even Latin.
GUEST = """
from harness.api import MetricRegistration, NoOptions, Column, hookimpl

@hookimpl
def harness_register_metrics():
    return [MetricRegistration(name="arrows", summary="Counts → and ↑ ± “quotes” 方", options=NoOptions,
                               build="guest:Arrows", columns=(Column("n", "№ ↑", True, "½"),))]
"""


@pytest.mark.parametrize(
    ("text", "shows"),
    [
        ("33.1 ± 0.2 × 100 – more…", "33.1 +/- 0.2 x 100 - more..."),
        ("ROUGE-L ↑ ↓ → “a” \u2018b\u2019", "ROUGE-L ^ v -> \"a\" 'b'"),
        ("café Ångström naïve ﬁne Δ σ", "cafe Angstrom naive fine Delta sigma"),
        ("│─┼ ½ \u00a0 ™", "|-+ 1/2   TM"),
        ("方 🙂 \udc80", "\\u65b9 \\U0001f642 \\udc80"),
    ],
)
def test_what_ascii_shows(text: str, shows: str) -> None:
    assert plain(text) == shows


def test_a_stream_keeps_what_it_can_show() -> None:
    kept = {"latin-1": "é ± - \\u65b9", "cp1252": "é ± – \\u65b9", "utf-8": "é ± – 方"}
    for encoding, expected in kept.items():
        assert shown("é ± – 方", io.TextIOWrapper(io.BytesIO(), encoding=encoding)) == expected


def test_preparing_twice_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii", write_through=True)
    monkeypatch.setattr(sys, "stdout", stream)
    prepare()
    prepare()
    stream.write("±\n")
    assert raw.getvalue() == b"+/-\n"


def test_file_names_that_are_no_text_are_shown_by_a_terminal_that_takes_them(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, "utf-8", errors="surrogateescape", write_through=True))
    prepare()
    sys.stdout.write("\udcff")
    assert raw.getvalue() == b"\xff"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a benchmark file, a run's results and plugins, all with names that few encodings have."""
    folder = tmp_path_factory.mktemp("place")
    guest = {"guest.py": GUEST}
    write_distribution(folder, "guest", entry_points={"guest": "guest"}, modules=guest)
    broken = {"broken.py": "raise ValueError('nicht möglich → 方')"}
    write_distribution(folder, "broken", entry_points={"broken": "broken"}, modules=broken)
    reward = [{"use": "rouge", "weight": 0.5}, {"use": "length", "weight": 0.5, "target": 5}]
    labelled = tiny(reward={"parts": reward}, methods=["sft", {"use": "eso", "label": "eso – 方"}])
    (folder / "good.yaml").write_text(json.dumps(labelled), encoding="utf-8")
    (folder / "bad.yaml").write_text(json.dumps(tiny(title="方", metrics=["ro→uge"])), encoding="utf-8")
    run = Run(folder / "reported", rows=("base", "sft", "eso – 方"), decodings={"t1": T1, "greedy": GREEDY})
    run.manifest = {"title": "Übung “eins” → 方"}
    run.write()
    return folder


@pytest.fixture(params=TERMINALS)
def call(request: pytest.FixtureRequest, place: Path) -> Callable[..., subprocess.CompletedProcess[bytes]]:
    """Return the command line on a terminal of one encoding; what it says is in that encoding and no traceback."""
    known = os.environ.get("PYTHONPATH")
    environment = {
        **{name: value for name, value in os.environ.items() if name != "HARNESS_STRICT_PLUGINS"},
        **TERMINALS[request.param],
        "PYTHONPATH": os.pathsep.join([str(place), *([known] if known else [])]),
    }

    def run(*arguments: str, code: int = 0) -> subprocess.CompletedProcess[bytes]:
        command = [sys.executable, "-m", "harness", *arguments]
        done = subprocess.run(command, env=environment, cwd=place, capture_output=True, check=False, timeout=PATIENCE)
        for said in (done.stdout, done.stderr):
            assert b"Traceback" not in said, said.decode(request.param)
            said.decode(request.param)
            if request.param == "ascii":
                assert said.isascii()
        assert done.returncode == code, done.stderr
        return done

    return run


def test_every_command_that_reads(call: Callable[..., subprocess.CompletedProcess[bytes]], place: Path) -> None:
    assert b"Counts -> and ^ " in call("plugins").stdout
    assert b"nicht m" in call("plugins").stdout
    assert b"Counts -> and ^ " in call("plugins", "show", "arrows").stdout
    assert b"eso - \\u65b9" in call("validate", "good.yaml").stdout
    assert b"eso - \\u65b9" in call("plan", "good.yaml", "--all").stdout
    assert b"eso - \\u65b9" in call("status", "good.yaml").stdout
    brief = call("report", "--results", "reported").stdout
    assert b'bung "eins" -> \\u65b9 (quick)' in brief
    assert b"eso - \\u65b9" in brief
    assert b"Delta sft" in brief
    assert b" ^ " in call("report", "--results", "reported", "--full").stdout
    board = json.loads(call("report", "--results", "reported", "--json").stdout)
    assert board["title"] == "Übung “eins” → 方"
    assert (place / "reported/small/quick/leaderboard.md").read_text(encoding="utf-8").startswith("# Übung “eins” → 方")
    assert json.loads(call("schema").stdout)["$schema"]
    assert json.loads(call("report", "--results", "reported", "--claims", "--json").stdout) is not None
    call("report", "--results", "reported", "--claims")
    call("--help")


def test_mistakes(call: Callable[..., subprocess.CompletedProcess[bytes]]) -> None:
    for name in ("validate", "plan", "status", "run"):
        assert b"ro->uge" in call(name, "bad.yaml", code=2).stderr
    assert b"No such command 'rep" in call("rep→ort", code=2).stderr
    assert b"no such run" in call("report", "方", "--results", "reported", code=2).stderr

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


def test_what_a_streams_encoding_lacks_is_printed_in_other_words(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="latin-1", write_through=True))
    prepare()
    print("é ± – 方")
    assert raw.getvalue().decode("latin-1") == "é ± - \\u65b9\n"


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


#: Everything that is said: commands that read, and mistakes.
READS = (
    ("plugins",), ("plugins", "show", "arrows"), ("validate", "good.yaml"), ("plan", "good.yaml", "--all"),
    ("status", "good.yaml"), ("report", "--results", "reported"), ("report", "--results", "reported", "--full"),
    ("report", "--results", "reported", "--json"), ("schema",),
    ("report", "--results", "reported", "--claims", "--json"), ("report", "--results", "reported", "--claims"),
    ("--help",),
)  # fmt: skip
MISTAKES = (
    *((name, "bad.yaml") for name in ("validate", "plan", "status", "run")),
    ("rep→ort",),
    ("report", "方", "--results", "reported"),
)
#: What is said on each terminal: all of it where least can be shown, and a few of it where more can.
SAID = {"ascii": (*READS, *MISTAKES), "latin-1": (READS[0], READS[3], READS[5], *MISTAKES[3:])}

#: Runs each command with streams as a new process on this terminal has them; most of a process's time is its imports.
ONE_BY_ONE = """
import json, os, sys
from pathlib import Path

from harness.cli import main

kinds = {1: ("stdout", sys.stdout.errors), 2: ("stderr", sys.stderr.errors)}
encoding = sys.stdout.encoding
assert encoding == sys.stderr.encoding
for number, arguments in enumerate(json.loads(Path(sys.argv[1], "commands").read_text("utf-8"))):
    for descriptor, (name, errors) in kinds.items():
        with Path(sys.argv[1], f"{number}.{name}").open("wb") as file:
            os.dup2(file.fileno(), descriptor)
        setattr(sys, name, open(descriptor, "w", encoding=encoding, errors=errors, closefd=False))
    code = 0
    try:
        main(prog_name="harness", args=[os.fsdecode(word.encode()) for word in arguments])  # as a process gets them
    except SystemExit as ended:
        code = ended.code or 0
    except BaseException:
        sys.excepthook(*sys.exc_info())
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    Path(sys.argv[1], f"{number}.code").write_text(str(code))
"""


@pytest.fixture(scope="module")
def said(
    request: pytest.FixtureRequest, place: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[tuple[str, ...], subprocess.CompletedProcess[bytes]]:
    """Return what each command says on a terminal of one encoding: in that encoding, and no traceback."""
    known = os.environ.get("PYTHONPATH")
    environment = {
        **{name: value for name, value in os.environ.items() if name != "HARNESS_STRICT_PLUGINS"},
        **TERMINALS[request.param],
        "PYTHONPATH": os.pathsep.join([str(place), *([known] if known else [])]),
    }
    folder = tmp_path_factory.mktemp("said")
    commands = SAID[request.param]
    (folder / "commands").write_text(json.dumps(commands), encoding="utf-8")
    command = [sys.executable, "-c", ONE_BY_ONE, str(folder)]
    done = subprocess.run(command, env=environment, cwd=place, capture_output=True, check=False, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    results = {}
    for number, arguments in enumerate(commands):
        streams = [(folder / f"{number}.{name}").read_bytes() for name in ("stdout", "stderr")]
        for text in streams:
            assert b"Traceback" not in text, text.decode(request.param)
            text.decode(request.param)
            if request.param == "ascii":
                assert text.isascii()
        code = int((folder / f"{number}.code").read_text())
        assert code == (2 if arguments in MISTAKES else 0), streams[1]
        results[arguments] = subprocess.CompletedProcess([*arguments], code, *streams)
    return results


@pytest.mark.parametrize("said", ["ascii"], indirect=True)
def test_every_command_that_reads(said: dict[tuple[str, ...], subprocess.CompletedProcess[bytes]], place: Path) -> None:
    def call(*arguments: str) -> bytes:
        return said[arguments].stdout

    assert b"Counts -> and ^ " in call("plugins")
    assert b"nicht m" in call("plugins")
    assert b"Counts -> and ^ " in call("plugins", "show", "arrows")
    assert b"eso - \\u65b9" in call("validate", "good.yaml")
    assert b"eso - \\u65b9" in call("plan", "good.yaml", "--all")
    assert b"eso - \\u65b9" in call("status", "good.yaml")
    brief = call("report", "--results", "reported")
    assert b'bung "eins" -> \\u65b9 (quick)' in brief
    assert b"eso - \\u65b9" in brief
    assert b"Delta sft" in brief
    assert b" ^ " in call("report", "--results", "reported", "--full")
    board = json.loads(call("report", "--results", "reported", "--json"))
    assert board["title"] == "Übung “eins” → 方"
    assert (place / "reported/small/quick/leaderboard.md").read_text(encoding="utf-8").startswith("# Übung “eins” → 方")
    assert json.loads(call("schema"))["$schema"]
    assert json.loads(call("report", "--results", "reported", "--claims", "--json")) is not None
    assert call("--help")


@pytest.mark.parametrize("said", ["latin-1"], indirect=True)
def test_commands_on_a_terminal_that_shows_more(
    said: dict[tuple[str, ...], subprocess.CompletedProcess[bytes]],
) -> None:
    assert b"Counts -> and ^ " in said["plugins",].stdout
    assert b"eso - \\u65b9" in said["plan", "good.yaml", "--all"].stdout
    brief = said["report", "--results", "reported"].stdout
    assert 'Übung "eins" -> \\u65b9 (quick)'.encode("latin-1") in brief
    assert b"ro->uge" in said["run", "bad.yaml"].stderr
    assert b"No such command 'rep" in said["rep→ort",].stderr
    assert b"no such run" in said["report", "方", "--results", "reported"].stderr


@pytest.mark.parametrize("said", ["ascii"], indirect=True)
def test_mistakes(said: dict[tuple[str, ...], subprocess.CompletedProcess[bytes]]) -> None:
    for name in ("validate", "plan", "status", "run"):
        assert b"ro->uge" in said[name, "bad.yaml"].stderr
    assert b"No such command 'rep" in said["rep→ort",].stderr
    assert b"no such run" in said["report", "方", "--results", "reported"].stderr


def test_a_process_of_its_own(place: Path) -> None:
    known = os.environ.get("PYTHONPATH")
    path = os.pathsep.join([str(place), *([known] if known else [])])
    environment = {**os.environ, **TERMINALS["ascii"], "HARNESS_STRICT_PLUGINS": "0", "PYTHONPATH": path}
    command = [sys.executable, "-m", "harness", "plugins", "--kind", "metric"]
    done = subprocess.run(command, env=environment, cwd=place, capture_output=True, check=True, timeout=PATIENCE)
    assert done.stdout.isascii()
    assert b"Counts -> and ^ " in done.stdout

"""The commands of docs/gpu.md."""

from __future__ import annotations

import doctest
import json
import re
import shlex
from typing import TYPE_CHECKING

from docs.pages import called, marked_commands, text_of
from gpu import cases, exact
from gpu.results import Checked
from gpu.run import main as measure

from harness.lm.switches import SWITCHES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pytest
    from gpu.setting import Setting

PAGE = "gpu.md"
#: Those that take less than a second.
QUICK = ("noise", "bfloat16 bound once", "fused optimiser")


def test_benchmarks_run_as_the_page_says_with_switches_that_there_are(tmp_path: Path) -> None:
    known = {f"{switch.variable}={switch.value}" for switch in SWITCHES}
    lines = [line for mark in ("plan", "switches") for line in marked_commands(PAGE, mark)]
    assert len(lines) == 4
    for line in lines:
        words = shlex.split(line)
        switches = [word for word in words if word.startswith("HARNESS_")]
        assert set(switches) <= known
        program, command, *rest = words[len(switches) :]
        assert (program, command) in {("harness", "plan"), ("harness", "run")}
        # what the file says is right; what it costs is for a GPU
        assert called(shlex.join(["harness", "validate", *rest])).exit_code == 0
    named = set(re.findall(r"`(HARNESS_\w+=\w+)`", text_of(PAGE)))
    assert named == known - {"HARNESS_WAY=general", "HARNESS_DECODING=static"}


def test_vllm_that_is_not_installed_is_said_as_the_page_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (block,) = re.findall(r"^<!-- said: absent -->\n```console\n(.*?)^```$", text_of(PAGE), re.DOTALL | re.MULTILINE)
    command, expected = block.removeprefix("$ ").split("\n", 1)
    said = called(command)
    assert said.exit_code == 2
    assert doctest.OutputChecker().check_output(expected, said.output, doctest.ELLIPSIS), said.output
    assert not list(tmp_path.rglob("summary.json"))


def test_the_script_checks_measures_and_writes_what_the_page_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    checks = exact.checks

    def quick(setting: Setting) -> Iterator[Checked]:
        return (each for each in checks(setting) if each.name in QUICK)

    for name in ("decoding", "texts", "scoring", "flexible", "agreement"):
        monkeypatch.setattr(exact, name, lambda _: (True, "left out"))
    monkeypatch.setattr(exact, "checks", quick)
    for number, line in enumerate(marked_commands(PAGE, "measure")):
        program, script, *options = shlex.split(line)
        assert (program, script) == ("python", "tests/gpu/run.py")
        for place, (option, value) in enumerate(zip(options, [*options[1:], ""], strict=True)):
            if option == "--minutes":
                assert float(value) > 0
                options[place + 1] = "0"
            if option == "--out":
                options[place + 1] = str(tmp_path / str(number))
        assert measure(options) == 0
    said = capsys.readouterr().out
    assert "There is no GPU here" in said
    found = json.loads((tmp_path / "0" / "gpu.json").read_text(encoding="utf-8"))
    assert [(each["name"], each["passed"]) for each in found["checked"]] == [(name, True) for name in QUICK]
    assert [each["name"] for each in found["measured"]] == ["matrix product", "copy", *cases.CASES]
    assert all(each["by"] == "no time was left" for each in found["measured"][2:])
    assert "no GPU" in (tmp_path / "0" / "gpu.md").read_text(encoding="utf-8")


def test_a_check_that_fails_is_the_exit_status(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exact, "checks", lambda _: iter([Checked("noise", passed=False, found="2", how="bits")]))
    assert measure(["--only", "exact"]) == 1

"""What a run prints: the tables on standard output, the rest on standard error, one JSON object where asked."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import struct
import termios
from typing import TYPE_CHECKING

import pytest
from execution import warm
from execution.bench import Bench

from harness.spec.results.files import METHOD
from harness.spec.results.kinds import RESULTS
from harness.spec.stages.kinds import parse_config
from harness.store.records import CONFIG, ENVIRONMENT, WARNINGS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.timeout(1800)  # on a machine that does ten other things


def run(bench: Bench, *arguments: str) -> tuple[str, str]:
    done = bench.ended(bench.command(*arguments), bench.surroundings())
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


def test_the_headline_is_printed_and_every_table_on_request(copied: Callable[..., Bench]) -> None:
    bench = copied()
    printed, said = run(bench)
    folder = bench.results / "tiny" / "default"
    head, closing = said.splitlines()
    assert head.startswith("tiny (default), ")
    assert "on cpu, 1 thread each" in head
    assert closing.startswith("0 stages made, 13 taken from the store, ")
    lines = printed.splitlines()
    assert len(lines) <= 15
    assert max(map(len, lines[:-4])) <= 100
    interval = "in brackets a 95 % confidence interval of the difference"
    assert lines[0] == f"tiny (default): ROUGE-L, higher is better, {interval}."
    assert set(lines[2].split()) == {"method", "test,", "T", "=", "1", "Δ", "sft", "tokens", "cut", "%", "s/step"}
    assert {line.split()[0] for line in lines[3:6]} == {"base", "sft", "eso"}
    assert "One seed: nothing is claimed." in printed
    assert f"tables: {folder / 'leaderboard.md'} (.csv, .json, .tex)" in lines
    assert f"page: {folder / 'leaderboard.html'}" in lines
    assert lines[-1] == f"all tables here: harness report {folder} --full"
    assert "|" not in printed
    whole, _ = run(bench, "--full")
    assert whole == bench.board("md").read_text(encoding="utf-8") + "\n"


def test_quietly(copied: Callable[..., Bench]) -> None:
    assert run(copied(), "--quiet") == ("", "")


def test_as_json(copied: Callable[..., Bench]) -> None:
    bench = copied()
    printed, _ = run(bench, "--json")
    found = json.loads(printed)
    assert found["verdict"][0] == "One seed: nothing is claimed."
    assert found["warnings"] == []
    assert (found["made"], found["reused"], found["failures"]) == (0, 13, [])
    assert found["leaderboard"] == json.loads(bench.board("json").read_text(encoding="utf-8"))
    assert found["results"] == str(bench.results / "tiny" / "default")


def test_a_run_with_settings_has_a_folder_of_its_own(copied: Callable[..., Bench]) -> None:
    bench = copied()
    before = bench.board("md").read_bytes()
    run(bench, "-o", "recipe.keep=all")
    folders = sorted(path.name for path in (bench.results / "tiny").iterdir())
    assert len(folders) == 2
    assert folders[1].startswith("default-")
    assert (bench.results / "tiny" / "default" / "leaderboard.md").read_bytes() == before


def in_a_terminal(bench: Bench, *arguments: str) -> str:
    """Run in a terminal of 80 columns and return all that it is sent."""
    terminal, far = os.openpty()
    fcntl.ioctl(far, termios.TIOCSWINSZ, struct.pack("4H", 24, 80, 0, 0))
    environment = bench.surroundings(TERM="xterm", COLUMNS="80")
    shown = b""
    with warm.started(bench.command(*arguments), env=environment, cwd=bench.folder, stdout=far, stderr=far) as process:
        os.close(far)
        with contextlib.suppress(OSError):  # what reading says where nobody has the other side any more
            while chunk := os.read(terminal, 65536):
                shown += chunk
    os.close(terminal)
    assert process.returncode == 0, shown
    return shown.decode()


def test_a_terminal_gets_a_live_display_and_is_left_clean(copied: Callable[..., Bench]) -> None:
    bench = copied(metrics=["rouge", "length"])
    shown = in_a_terminal(bench, "--jobs", "1")
    assert "benchmark" in shown  # which stages are caught by a refresh is chance
    assert "/3 stages" in shown
    assert "\x1b[?25l" in shown  # the cursor goes
    assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l")  # and comes back
    assert "tiny (default): ROUGE-L" in shown[shown.rindex("\x1b[?25h") :]


def test_the_way_of_a_model_is_recorded_planned_and_noted(finished: Bench) -> None:
    words = "fast way: packed trees, shared prompts"
    for kind in ("train", "generate"):
        assert {record.json("summary.json")["way"] for record in finished.stages(kind).values()} == {words}
    board = json.loads(finished.board("json").read_text(encoding="utf-8"))
    assert f"new, {words}." in board["notes"]
    told = finished.ended(finished.command(name="plan"), finished.surroundings()).stdout
    assert f"new/weights/seed 0: {words}" in told.splitlines()


def test_every_file_of_json_is_one_that_its_kind_of_stage_is_known_to_leave(finished: Bench) -> None:
    kinds = set()
    for kind in finished.store.kinds():
        for record in finished.store.records(kind):
            config = parse_config(record.json(CONFIG))
            listed = {CONFIG, ENVIRONMENT, WARNINGS, METHOD, *(result.file for result in RESULTS[config.kind])}
            written = {name for name in record.manifest["files"] if name.endswith((".json", ".jsonl"))}
            assert {name for name in written if "/" not in name} <= listed
            kinds.add(config.kind)
    assert {"rows", "tokenizer", "new-model", "train", "generate", "score"} <= kinds


def test_a_switch_changes_the_way_that_is_planned_and_taken_but_not_what_is_known_of_the_model(
    finished: Bench, tmp_path: Path
) -> None:
    forced = "general way: padded rows, copied caches; HARNESS_WAY=general asks for it"
    told = finished.ended(finished.command(name="plan"), finished.surroundings(HARNESS_WAY="general")).stdout
    assert f"new/weights/seed 0: {forced}" in told.splitlines()
    bench = Bench(tmp_path, finished.content)
    bench.run("--jobs", "1", HARNESS_WAY="general")
    prepared = "new/weights/seed 0"
    assert bench.stages("prepare")[prepared].json("model.json") == finished.stages("prepare")[prepared].json(
        "model.json"
    )
    assert {record.json("summary.json")["way"] for record in bench.stages("train").values()} == {forced}
    told = bench.ended(bench.command(name="plan"), bench.surroundings()).stdout
    assert f"{prepared}: fast way: packed trees, shared prompts" in told.splitlines()


@pytest.mark.parametrize("variable", ["HARNESS_WAY", "HARNESS_PACKED_LINEAR"])
@pytest.mark.parametrize("name", ["plan", "run"])
def test_a_switch_with_a_wrong_value_is_refused_before_anything_is_made(
    tmp_path: Path, variable: str, name: str
) -> None:
    bench = Bench(tmp_path)
    said = bench.run(name=name, code=2, **{variable: "fast"})
    (line,) = [line for line in said.splitlines() if variable in line]
    assert "no such setting of this switch, got 'fast'; expected '" in line
    assert not any(bench.results.rglob("manifest.json"))

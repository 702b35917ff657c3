"""What a worker warns of is said once, with its rows, kept beside the result and said again by a report."""

from __future__ import annotations

import json
import logging
import os
import shutil
import sys
import warnings
from typing import TYPE_CHECKING

import pytest
import torch
from execution.bench import Bench, tiny
from safetensors.torch import load_file, save_file

from harness.execution.warning_capture import MEANINGLESS, WarningCapture
from harness.testing.distributions import write_distribution

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.timeout(1800)  # on a machine that does ten other things

#: A metric that warns in every way there is, prints, and fails where it is told to.
LOUD = """
import logging
import os
import sys
import threading
import warnings

from harness.api import Column, MetricRegistration, MetricResult, NoOptions, hookimpl


class Loud:
    def __init__(self, options):
        pass

    def score(self, samples, services):
        for _ in range(3):
            warnings.warn("the answers are → odd", stacklevel=1)
            logging.getLogger("loud.part").warning("%d of them", 7)
        logging.getLogger("loud.part").info("nobody needs this")
        logging.getLogger("transformers.loud").warning("a library that keeps its log to itself")
        logging.getLogger("transformers.loud").warning("`loss_type=None` was set in the config but it is unrecognized.")
        warnings.warn("a division", RuntimeWarning, stacklevel=1)
        thread = threading.Thread(target=logging.getLogger("loud").error, args=("from a thread",))
        thread.start()
        thread.join()
        print("on → standard output, 方")
        sys.stderr.write("on → standard error, 方")
        if os.environ.get("LOUD_FAILS"):
            raise ValueError("no → score")
        return MetricResult({"loud": [1.0 for _ in samples]}, signature="loud|v1")


@hookimpl
def harness_register_metrics():
    return [MetricRegistration(name="loud", summary="Warns", options=NoOptions, build="loud:Loud", role="score",
                               columns=(Column("loud", "Loud", higher_is_better=True),))]
"""
TOLD = (
    "the answers are → odd",
    "7 of them",
    "a library that keeps its log to itself",
    "RuntimeWarning: a division",
    "from a thread",
)


@pytest.fixture(scope="module")
def loud(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return the environment in which the metric is installed."""
    folder = tmp_path_factory.mktemp("loud")
    write_distribution(folder, "loud", entry_points={"loud": "loud"}, modules={"loud.py": LOUD})
    known = os.environ.get("PYTHONPATH")
    return {"PYTHONPATH": os.pathsep.join([str(folder), *([known] if known else [])])}


def warned(said: str) -> list[str]:
    return [line.removeprefix("warning: ") for line in said.splitlines() if line.startswith("warning: ")]


def output(bench: Bench, command: list[str], code: int = 0) -> tuple[str, str]:
    done = bench.ended(command, bench.surroundings())
    assert done.returncode == code, done.stderr
    return done.stdout, done.stderr


def test_a_warning_is_said_once_and_kept(copied: Callable[..., Bench], loud: dict[str, str]) -> None:
    bench = copied(metrics=["rouge", "loud"])
    bench.environment = loud
    said = warned(bench.run("--jobs", "1"))
    assert [line.partition(": ")[2] for line in said] == list(TOLD)
    assert {line.partition(": ")[0] for line in said} <= {"base", "sft", "eso"}
    for label, record in bench.stages("score").items():
        assert record.warnings == (list(TOLD) if label.endswith("/loud") else [])
        assert ("warnings.json" in record.manifest["measured"]) is label.endswith("/loud")
        record.verify()
    board = json.loads(bench.board("json").read_text(encoding="utf-8"))
    assert all(f"Warning, of base, sft, eso: {text}" in board["notes"] for text in TOLD)
    again = [f"base, sft, eso: {text}" for text in TOLD]
    assert warned(output(bench, bench.command())[0]) == again
    command = [sys.executable, "-m", "harness", "report", "--results", str(bench.results)]
    assert warned(output(bench, command)[0]) == again


def test_no_warning_makes_a_difference_between_two_makings(copied: Callable[..., Bench], loud: dict[str, str]) -> None:
    bench = copied(metrics=["rouge", "loud"])
    bench.environment = loud
    bench.run("--jobs", "1")
    before = bench.digests()
    for record in bench.stages("score").values():
        if record.label.endswith("sft/seed 0/test/t1/loud"):
            shutil.rmtree(record.folder)
    bench.run("--jobs", "2")
    assert bench.digests() == before


def test_what_fails_is_said_once_with_what_it_costs(copied: Callable[..., Bench], loud: dict[str, str]) -> None:
    bench = copied(metrics=["rouge", "loud"])
    bench.environment = {**loud, "LOUD_FAILS": "1", "PYTHONIOENCODING": "ascii"}
    said = bench.run("--jobs", "1", code=1)
    assert said.isascii()
    assert said.count("ValueError: no -> score") == 1
    assert said.count("failed: score new/") == 3
    assert [said.count(f"\n  a part is missing: {row}\n") for row in ("base", "sft", "eso")] == [1, 1, 1]
    assert "the answers are -> odd" in said
    quiet = bench.run("--jobs", "1", "--quiet", code=1)
    assert quiet.count("ValueError: no -> score") == 1
    assert "warning" not in quiet


def test_a_failed_start_is_one_message_with_the_rows_that_it_costs(tmp_path: Path) -> None:
    bench = Bench(tmp_path, tiny(recipe={**tiny()["recipe"], "batch_size": 64}))
    printed, said = output(bench, bench.command("--jobs", "1"), 1)
    assert (printed + said).count("there are fewer training rows than one batch") == 1
    assert "\n  no result: sft, eso\n" in said
    assert "No number for sft and eso." in " ".join(printed.split())


@pytest.mark.filterwarnings("default")
def test_one_stage_hears_itself_alone() -> None:
    told: list[str] = []
    capture = WarningCapture(told.append)
    log = logging.getLogger("some.library")
    for text in ("first", "second"):
        with capture.stage() as heard:
            for _ in range(2):
                log.warning("\x1b[1m%s\x1b[0m\n  thing", text)
                warnings.warn("of the code", UserWarning, stacklevel=1)
        assert heard == [f"{text} thing", "of the code"]
    assert told == ["first thing", "of the code", "second thing", "of the code"]
    assert capture not in logging.getLogger().handlers


@pytest.mark.filterwarnings("default")
def test_what_is_ignored_is_ignored_and_long_texts_are_cut() -> None:
    capture = WarningCapture(lambda _: None)
    with capture.stage() as heard:
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.warn("old", DeprecationWarning, stacklevel=1)
        logging.getLogger("x").warning("word " * 1000)
        capture.emit(logging.LogRecord("x", logging.WARNING, __file__, 1, "%d", ("badly logged",), None))
    assert heard == [("word " * 80).rstrip() + " …", "%d"]


def test_each_silence_has_its_reason() -> None:
    assert all(pattern and reason for pattern, reason in MEANINGLESS)


def test_weights_that_are_not_used_are_told_with_the_rows_that_start_from_them(finished: Bench, tmp_path: Path) -> None:
    folder = tmp_path / "odd"
    new = next(one for label, one in finished.stages("prepare").items() if one.holds("checkpoint/model.safetensors"))
    shutil.copytree(new.folder / "checkpoint", folder)
    weights = load_file(folder / "model.safetensors")
    more = {f"value_head.{part}": torch.zeros(2) for part in ("bias", "weight")}
    save_file({**weights, **more}, folder / "model.safetensors", metadata={"format": "pt"})
    bench = Bench(tmp_path, tiny(models=[{"name": "odd", "path": str(folder)}]))
    text = f"model in {folder}: 2 weights are not used, value_head.bias among them"
    assert warned(bench.run("--jobs", "1")) == [f"sft, eso: {text}"]
    records = [*bench.stages("train").values(), *bench.stages("generate").values()]
    assert sum(record.warnings == [text] for record in records) == 2  # the first training, and the base's answers
    assert f"- Warning, of base, sft, eso: {text}" in bench.board("md").read_text(encoding="utf-8")

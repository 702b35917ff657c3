"""What ruins a comparison is found in a whole run: it ends with exit code 1, is in every table, and loses nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest
from docs.pages import quoted_files
from execution.bench import Bench, tiny

pytestmark = pytest.mark.timeout(1800)

LOO = quoted_files("own-method.md")["my_method.py"]
JUDGE = '''
import zlib

from harness.api import Column, MetricRegistration, MetricResult, NoOptions


class Judge:
    """It looks at the prompt alone."""

    def __init__(self, options):
        self.options = options

    def score(self, samples, services):
        values = [zlib.crc32(sample.id.encode()) % 100 / 100 for sample in samples]
        return MetricResult({"quality": values}, signature="judge|v1")


column = Column("quality", "quality", higher_is_better=True, range=(0.0, 1.0))
judge = MetricRegistration(
    name="judge", summary="Sees no answer", options=NoOptions, build=Judge, columns=(column,), role="score"
)
'''


def told(bench: Bench) -> Any:
    return json.loads(bench.board("json").read_text(encoding="utf-8"))["checks"]


@pytest.fixture(scope="module")
def ordinary(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """Return a run of two seeds in which nothing is wrong, with plugins beside it that later ones use."""
    folder = tmp_path_factory.mktemp("checks")
    (folder / "my_method.py").write_text(LOO, encoding="utf-8")
    (folder / "my_judge.py").write_text(JUDGE, encoding="utf-8")
    bench = Bench(
        folder, tiny(seeds=[0, 1], evaluate=[{"dataset": "generated-instructions", "limit": 24, "label": "test"}])
    )
    bench.run("--jobs", "2")
    return bench


def test_an_ordinary_benchmark_has_neither_errors_nor_findings(ordinary: Bench) -> None:
    assert told(ordinary) == {"errors": [], "findings": []}
    trained = [record.json("summary.json") for record in ordinary.stages("train").values()]
    assert all(len(summary["weights_sums"]) == len(summary["start_sums"]) == 16 for summary in trained)
    answered = [record.json("summary.json")["noise"] for record in ordinary.stages("generate").values()]
    assert len(set(answered)) == 2  # of each seed its own, the same for all rows


def test_methods_that_come_to_the_same_are_pointed_out(ordinary: Bench) -> None:
    own = {"use": "eso", "label": "eso-t1", "temperatures": [1.0, 1.0, 1.0], "coef": 0.5, "use_sft_term": False}
    bench = Bench(ordinary.folder, {**ordinary.content, "methods": ["sft", own, {"use": "loo", "samples": 3}]})
    said = bench.ended(bench.command("--plugin", "my_method.py"), bench.surroundings())
    assert said.returncode == 0
    (finding,) = told(bench)["findings"]
    assert finding.startswith("eso-t1 and loo are the same here: ")
    assert finding.endswith("(seeds 0 and 1).")
    assert finding in said.stdout
    assert finding in bench.board("md").read_text(encoding="utf-8")


def test_a_judge_that_sees_no_answer_is_an_error(ordinary: Bench) -> None:
    before = ordinary.digests()
    bench = Bench(ordinary.folder, {**ordinary.content, "metrics": ["judge", "rouge"]})
    arguments = ("--plugin", "my_judge.py")
    said = bench.ended(bench.command(*arguments), bench.surroundings())
    assert said.returncode == 1
    (error,) = told(bench)["errors"]
    assert error.startswith("judge.quality on test under t1: all seeds of sft and eso have the same")
    assert f"error: {error}" in said.stdout.replace("\n", " ")
    assert f"Error: {error}." in bench.board("html").read_text(encoding="utf-8").replace("&#39;", "'")
    rows = {row["label"]: row for row in bench.tables()["scores"]["rows"]}
    judged, scored = (f"test/{name}" for name in ("judge.quality", "rouge.rougeL"))
    assert rows["eso"]["cells"][judged]["note"] == "error: the seeds do not vary"
    assert "value" in rows["eso"]["cells"][f"{scored} Δ"]  # what else was scored is as it was
    assert before.items() <= bench.digests().items()
    assert error in bench.run("--quiet", *arguments, code=1)
    again = bench.ended([*bench.command()[:3], "report", "--results", str(bench.results)], bench.surroundings())
    assert again.returncode == 0  # a report says it, and is none the worse for it
    assert f"error: {error}" in again.stdout

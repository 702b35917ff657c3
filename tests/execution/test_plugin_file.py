"""A method in one file, through a whole run: workers have it, records and tables name it, mistakes name their line."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import pytest
from docs.pages import quoted_files
from execution.bench import Bench, tiny

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.timeout(1800)

LOO = quoted_files("own-method.md")["my_method.py"]


def bench(folder: Path, source: str) -> Bench:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "my_method.py").write_text(source, encoding="utf-8")
    return Bench(folder, tiny(methods=["sft", "loo"]))


def manifest(made: Bench) -> Any:
    return json.loads((made.results / "tiny" / "default" / "manifest.json").read_text(encoding="utf-8"))


def test_a_run_with_a_method_of_one_file(tmp_path: Path) -> None:
    made = bench(tmp_path, LOO)
    said = made.run("--plugin", "my_method.py", "--jobs", "1")
    assert "stages made" in said
    sha256 = hashlib.sha256(LOO.encode()).hexdigest()
    (maker,) = [one for one in manifest(made)["plugins"] if one["name"] == "loo"]
    assert (maker["distribution"], maker["sha256"], maker["rows"]) == ("my_method.py", sha256, ["loo"])
    records = {label: record.manifest["plugins"] for label, record in made.stages("train").items()}
    (trained,) = [plugins for plugins in records.values() if any(one["name"] == "loo" for one in plugins)]
    assert [one.get("sha256") for one in trained if one["kind"] == "method"] == [sha256]
    text = made.board("md").read_text(encoding="utf-8")
    assert f"Plugins of my_method.py, sha256 {sha256[:16]}: method loo." in text
    cells = {row["label"]: row["cells"] for row in made.tables()["settings"]["rows"]}
    assert cells["loo"]["plugin"] == {"value": f"my_method.py, sha256 {sha256[:16]}"}
    assert "plugin" not in cells["sft"]

    # a remark changes nothing; a report needs no plugin; another step is another row
    (tmp_path / "my_method.py").write_text(f"# mine\n{LOO}", encoding="utf-8")
    assert "0 stages made" in made.run("--plugin", "my_method.py", "--jobs", "1")
    (tmp_path / "my_method.py").write_text(LOO.replace("[1.0]", "[0.9]"), encoding="utf-8")
    status = made.ended(made.command("--json", "--plugin", "my_method.py", name="status"), made.surroundings())
    trains = {row["row"]: row["train"] for row in json.loads(status.stdout)["rows"]}
    assert trains["sft"]["done"] == trains["sft"]["of"]
    assert trains["loo"]["done"] == trains["loo"]["of"] - 1


@pytest.mark.parametrize(
    ("right", "wrong", "code", "message"),
    [
        ('needs=frozenset({"reward"}),', "", 2, "method 'loo' of my_method.py"),
        (
            "        return {}\n\n    def state",
            "        return {'x': 1 / 0}\n\n    def state",
            0,
            "my_method.py, line ",
        ),
    ],
    ids=["undeclared", "in the step"],
)
def test_mistakes_name_the_file(tmp_path: Path, right: str, wrong: str, code: int, message: str) -> None:
    assert right in LOO
    source = LOO.replace(right, wrong, 1)
    made = bench(tmp_path, source)
    said = made.run("--plugin", "my_method.py", "--jobs", "1", code=code or 1)
    assert message in said
    if not code:  # the other rows go on
        line = source.splitlines().index("        return {'x': 1 / 0}") + 1
        assert f"ZeroDivisionError: division by zero (my_method.py, line {line})" in said
        assert {row["label"] for row in made.tables()["summary"]["rows"]} == {"base", "sft", "loo"}

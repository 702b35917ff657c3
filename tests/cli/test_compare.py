"""``harness compare``: the numbers of the tables, what stands behind them, and refusals that name the field."""

from __future__ import annotations

import json
import math
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from click.testing import CliRunner
from report.synthetic import ENVIRONMENT, GREEDY, METRICS, T1, Place
from report.whole import WholeRun, tale

from harness.cli import compare, main
from harness.report.comparison import unlike
from harness.report.write import write_tables

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from click.testing import Result


def drawn(place: Place) -> float:
    """Return a value with noise of seeds, of prompts and of both, the same each time."""
    level = {"base": 0.1, "sft": 0.3, "eso": 0.36, "drl": 0.31}[place.row]
    noise = np.random.default_rng([sum(map(ord, place.row)), place.seed, place.example, len(place.decoding)])
    return float(np.clip(level + 0.02 * (place.example % 4) + noise.normal(0, 0.02), 0, 1))


@pytest.fixture
def place() -> Iterator[Path]:
    """Return a folder, in memory where there is one: a store syncs every file."""
    memory = Path("/dev/shm")  # noqa: S108  # a folder of one's own in it
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        yield Path(folder)


def written(place: Path, name: str = "results", *, tables: bool = False, **changes: Any) -> WholeRun:
    run = WholeRun(place / name, **{"examples": 6, "value": drawn, **changes})
    folder = run.write()
    if tables:
        write_tables(run.root, folder)
    return run


def call(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["compare", *(str(argument) for argument in arguments)])


def compared(*arguments: object) -> dict[str, Any]:
    result = call(*arguments, "--json")
    assert result.exit_code == 0, result.output
    value: dict[str, Any] = json.loads(result.output)
    return value


def delta(run: WholeRun, row: str) -> dict[str, Any]:
    """Return the difference of a row from the baseline, as the run's table of scores has it."""
    board = json.loads((run.root / "small/quick/leaderboard.json").read_text(encoding="utf-8"))
    cells = next(r["cells"] for r in board["tables"]["scores"]["rows"] if r["label"] == row)
    value: dict[str, Any] = cells["in-data/rouge.rougeL Δ"]
    return value


def test_with_two_rows_the_numbers_are_the_tables(place: Path) -> None:
    run = written(place, tables=True)
    (told,) = compared("small/quick:eso", "sft", "--results", run.root)["contrasts"]
    table = delta(run, "eso")
    assert (told["difference"], told["low"], told["high"]) == pytest.approx(
        (table["value"], table["low"], table["high"]), rel=1e-12
    )
    assert told["p"] == pytest.approx(table["p"], rel=1e-9)
    assert told["detectable"] == pytest.approx(table["detectable"], rel=1e-9)
    assert told["claimed"] == table["claimed"]
    assert (told["seeds"], told["prompts"]) == (3, 6)
    assert told["table"]["rows"] == 2
    text = call("small/quick:eso", "sft", "--results", run.root).output
    assert "The run's tables compare the same two rows: their intervals are these." in " ".join(text.split())


def test_with_more_rows_it_says_what_the_table_adjusts_for(place: Path) -> None:
    run = written(place, rows=("base", "sft", "eso", "drl"), tables=True)
    (told,) = compared("small/quick:eso", "sft", "--results", run.root)["contrasts"]
    table = delta(run, "eso")
    assert told["difference"] == pytest.approx(table["value"])
    assert told["low"] != pytest.approx(table["low"])
    assert (told["table"]["low"], told["table"]["high"]) == pytest.approx((table["low"], table["high"]), rel=1e-12)
    text = call("small/quick:eso", "sft", "--results", run.root).output
    assert "The run's tables compare 3 rows: their intervals, which stand below, are adjusted" in " ".join(text.split())
    assert f"  in the run's tables: {table['value']:+.2f} [{table['low']:+.2f}, {table['high']:+.2f}], p " in text


def test_the_other_way_round_is_the_same_turned(place: Path) -> None:
    run = written(place)
    (there,) = compared("eso", "sft", "--results", run.root)["contrasts"]
    (back,) = compared("sft", "eso", "--results", run.root)["contrasts"]
    assert back["difference"] == -there["difference"]
    assert (back["low"], back["high"]) == (-there["high"], -there["low"])
    assert back["effect"] == pytest.approx(-there["effect"])
    assert (back["better"], back["worse"]) == (there["worse"], there["better"])
    moved = {m["id"]: m["difference"] for m in there["prompts_moved"]}
    assert {m["id"]: -m["difference"] for m in back["prompts_moved"]} == moved


def test_effect_prompts_and_categories_by_hand(place: Path) -> None:
    run = written(place, examples=12)
    (told,) = compared("eso", "sft", "--results", run.root, "--prompts", 2)["contrasts"]
    values = {
        row: np.array([
            [drawn(Place(row, "tiny", seed, "in-data", "t1", "rougeL", example)) for example in range(12)]
            for seed in range(3)
        ])
        for row in ("eso", "sft")
    }  # fmt: skip
    ours, theirs = values["eso"].mean(0), values["sft"].mean(0)
    by_prompt = 100 * (ours - theirs)
    assert told["difference"] == pytest.approx(by_prompt.mean())
    assert told["effect"] == pytest.approx(
        (ours - theirs).mean() / math.sqrt((ours.var(ddof=1) + theirs.var(ddof=1)) / 2)
    )
    assert told["better"] == pytest.approx((by_prompt > 0).mean())
    order = np.argsort(-by_prompt, kind="stable")
    most = [str(n) for n in order[:2]] + [str(n) for n in order[::-1][:2] if by_prompt[n] < 0]
    assert [moved["id"] for moved in told["prompts_moved"]] == most
    assert told["prompts_moved"][0]["difference"] == pytest.approx(by_prompt[order[0]])
    kinds = {c["category"]: c for c in told["categories"]}
    assert {name: kind["count"] for name, kind in kinds.items()} == {"long": 8, "short": 4}
    short = [n for n in range(12) if tale(n)["columns"]["category"] == "short"]
    assert kinds["short"]["difference"] == pytest.approx(by_prompt[short].mean())
    assert sum(kind["count"] * kind["difference"] for kind in kinds.values()) / 12 == pytest.approx(told["difference"])


def test_a_column_of_the_data_can_be_named(place: Path) -> None:
    def prompts(index: int) -> dict[str, Any]:
        return {**tale(index), "columns": {"category": "all", "source": ("web", "book")[index % 2]}}

    run = written(place, prompts=prompts)
    (told,) = compared("eso", "sft", "--results", run.root, "--by", "source")["contrasts"]
    assert [kind["category"] for kind in told["categories"]] == ["book", "web"]
    result = call("eso", "sft", "--results", run.root, "--by", "sourc")
    assert result.exit_code == 2
    assert "--by: the rows of in-data have no such column, got 'sourc'" in result.stderr
    assert "did you mean 'source'?" in result.stderr


def test_texts_are_shown_when_asked_for(place: Path) -> None:
    run = written(place, answer=lambda row, _seed, index: f"{row} says {index}")
    plain = call("eso", "sft", "--results", run.root, "--prompts", 1).output
    assert "says" not in plain
    text = call("eso", "sft", "--results", run.root, "--prompts", 1, "--texts").output
    (moved, *_) = compared("eso", "sft", "--results", run.root, "--prompts", 1, "--texts")["contrasts"][0][
        "prompts_moved"
    ]
    name = moved["id"]
    assert (
        f"        instruction: Tell tale {name}\n        eso: eso says {name} 0 0\n        sft: sft says {name} 0 0"
        in text
    )
    assert moved["prompt"] == {"instruction": f"Tell tale {name}"}
    assert (moved["first_answer"], moved["second_answer"]) == (f"eso says {name} 0 0", f"sft says {name} 0 0")


def test_how_much_would_settle_it(place: Path) -> None:
    close = {"sft": 0.3, "eso": 0.302, "base": 0.1}

    def value(where: Place) -> float:
        return drawn(where) - {"base": 0.1, "sft": 0.3, "eso": 0.36}[where.row] + close[where.row]

    run = written(place, value=value, examples=20)
    (told,) = compared("eso", "sft", "--results", run.root)["contrasts"]
    assert not told["claimed"]
    assert told["settle"]["seeds"] is None or told["settle"]["seeds"] > 3
    assert told["settle"]["prompts"] is None or told["settle"]["prompts"] > 20
    assert "more" in told["settle"]["text"]
    two = written(place, "two", seeds=(0, 1))
    (told,) = compared("eso", "sft", "--results", two.root)["contrasts"]
    assert (told["note"], told["low"], told["claimed"]) == ("two seeds", None, False)
    assert told["settle"]["text"] == "1 more seeds at least"
    assert len(told["by_seed"]) == 2


def test_two_runs_and_a_bundle(place: Path) -> None:
    first, second = written(place), written(place, "other")
    target = place / "other.zip"
    bundled = CliRunner().invoke(main, ["bundle", str(second.root), "-o", str(target)])
    assert bundled.exit_code == 0, bundled.output
    one_run = compared("eso", "sft", "--results", first.root)["contrasts"]
    for name in (f"{second.root / 'small/quick'}:sft", f"{second.root}:sft", f"{target}:sft"):
        told = compared("small/quick:eso", name, "--results", first.root)
        for ours, theirs in zip(told["contrasts"], one_run, strict=True):
            assert ours == {key: part for key, part in theirs.items() if key != "table"}
    both = compared(first.root, second.root, "--row", "eso")
    assert both["contrasts"][0]["difference"] == 0.0
    assert both["contrasts"][0]["note"] == "identical"


def test_only_the_seeds_that_both_have(place: Path) -> None:
    first, second = written(place, seeds=(0, 1, 2, 3)), written(place, "other", seeds=(1, 2, 3, 4))
    told = compared(f"{first.root}:eso", f"{second.root}:sft")
    assert told["contrasts"][0]["seeds"] == 3
    third = written(place, "third", seeds=(7, 8))
    result = call(f"{first.root}:eso", f"{third.root}:sft")
    assert result.exit_code == 2
    assert "have no scores of the same seeds and prompts" in result.stderr
    assert "0, 1, 2, 3; of " in result.stderr


def budget(run: WholeRun) -> None:
    run.change = lambda manifest: manifest["config"]["methods"][0].update(recipe={"max_steps": 7})


def template(run: WholeRun) -> None:
    run.change = lambda manifest: manifest["config"]["template"].update(text="{instruction}?")


def model(run: WholeRun) -> None:
    run.change = lambda manifest: manifest["config"]["models"][0].update(revision="abc")


def options(run: WholeRun) -> None:
    run.metrics = [{**METRICS[0], "options": {"stemmer": True}}]


@pytest.mark.parametrize(
    ("changes", "field", "said"),
    [
        ({"prompts": lambda i: {**tale(i), "completion": "Never"}}, "data", "data in-data: tales test, 6 rows, sha256"),
        ({"decodings": {"t1": {**T1, "top_k": 5}}}, "decoding", "decoding t1 top_k: 0 against 5"),
        ({"with": options}, "metric", "metric rouge stemmer: None against True"),
        ({"signature": lambda _row, _seed: "rouge|v2"}, "metric", "metric rouge signature: rouge|v1 against rouge|v2"),
        ({"with": template}, "template", "template text: {instruction}: against {instruction}?"),
        ({"settings": lambda _row, _seed: {"asking": asking(max_prompt_length=9)}}, "prompt", "max_prompt_length: 64"),
        ({"settings": lambda _row, _seed: {"asking": asking(overlong="drop")}}, "prompt", "overlong: cut against drop"),
        ({"trained_rows": "7" * 64}, "training-data", "training-data: tales train, 40 rows, sha256 2222"),
        ({"with": budget}, "budget", "budget max_steps: None against 7"),
        ({"described": lambda _row: {"trials": 4}}, "budget", "budget trials: 1 against 4"),
        ({"with": model}, "model", "model revision: None against abc"),
        ({"weights": 2.0}, "model", "model weights at the start of seed 0: 1.0 against 2.0"),
        ({"environment": lambda _row, _seed: {**ENVIRONMENT, "device": "cuda:0"}}, "device", "device: cpu against"),
    ],
)  # fmt: skip
def test_unlike_is_refused_and_named(place: Path, changes: dict[str, Any], field: str, said: str) -> None:
    changes = dict(changes)
    change: Callable[[WholeRun], None] = changes.pop("with", lambda _run: None)
    first = written(place)
    second = WholeRun(place / "other", **{"examples": 6, "value": drawn, **changes})
    change(second)
    second.write()
    names = (f"{first.root}:sft", f"{second.root}:sft")
    result = call(*names)
    assert result.exit_code == 2
    assert f"are not alike in {field}:" in result.stderr
    assert said in result.stderr
    assert "Traceback" not in result.output
    if field in unlike.PASSABLE:
        assert f"--anyway {field}" in result.stderr
        gone_on = call(*names, "--anyway", field)
        assert gone_on.exit_code == 0, gone_on.output
        assert "compared all the same, over " in gone_on.output
        assert said in gone_on.output
        assert [one["field"] for one in compared(*names, "--anyway", field)["over"]] == [field]
    else:
        refused = call(*names, "--anyway", field)
        assert refused.exit_code == 2
        assert "is not one of 'budget', 'device', 'model', 'training-data'" in refused.stderr


def asking(**changes: Any) -> Any:
    from stages import configs

    return configs.asking(**changes)


def test_what_differs_and_is_no_reason_to_refuse_is_said(place: Path) -> None:
    first = written(place)
    other = {**ENVIRONMENT, "libraries": {"torch": "2.12.0"}}
    second = written(place, "other", environment=lambda _row, _seed: other, settings=lambda _row, _seed: {"code": "2"})
    told = compared(f"{first.root}:eso", f"{second.root}:eso")
    assert "torch: 2.13.0 against 2.12.0" in told["notes"]
    assert "source that answered: 1 against 2" in told["notes"]
    untrained = compared(f"{first.root}:eso", "base")
    assert untrained["notes"][0] == "base was not trained: it had no budget"


def test_a_part_can_be_asked_for(place: Path) -> None:
    run = written(place, decodings={"t1": T1, "greedy": GREEDY})
    whole = compared("eso", "sft", "--results", run.root)["contrasts"]
    assert [contrast["decoding"] for contrast in whole] == ["t1", "greedy"]
    part = compared("eso", "sft", "--results", run.root, "--decoding", "greedy")["contrasts"]
    assert part == whole[1:]
    result = call("eso", "sft", "--results", run.root, "--decoding", "gredy")
    assert result.exit_code == 2
    assert "--decoding: both rows have no such decoding, got 'gredy'" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ("small/quick:esso", "sft"),
            "there is no such row, got 'esso'; expected one of base, sft, eso; did you mean",
        ),
        (
            ("small/quik:eso", "sft"),
            "there is no such run, got 'small/quik'; expected one of small/quick; did you mean",
        ),
        (("small/quick", "small/quick"), "which row is meant is not said; expected RUN:ROW or --row, one of base, sft"),
        (("eso", "sft", "--model", "tinny"), "there is no such model, got 'tinny'; expected one of tiny; did you mean"),
    ],
)
def test_a_wrong_name_is_one_message(place: Path, arguments: tuple[str, ...], said: str) -> None:
    run = written(place, seeds=(0,), examples=2)
    result = call(*arguments, "--results", run.root)
    assert result.exit_code == 2
    assert said in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_of_two_models_one_is_said(place: Path) -> None:
    run = written(place, models=("tiny", "small"), seeds=(0,), examples=2)
    result = call("eso", "sft", "--results", run.root)
    assert "several models have this row: say which with --model" in result.stderr
    assert compared("eso", "sft", "--results", run.root, "--model", "small")["first"]["model"] == "small"


def test_seeds_that_are_no_repetitions_claim_nothing(place: Path) -> None:
    run = written(place, trained=lambda row, _seed: {"weights_sha256": "4" * 64} if row == "eso" else {})
    (told,) = compared("eso", "sft", "--results", run.root)["contrasts"]
    assert (told["low"], told["claimed"]) == (None, False)
    assert told["note"].startswith("error: ")


def test_the_fields_one_can_go_on_over_are_those_that_are_known() -> None:
    assert compare.ANYWAY == unlike.PASSABLE

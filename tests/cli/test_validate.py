"""``harness validate`` and ``harness schema``, as commands."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from benchmark.invented import SMALL, invented_registry
from click.testing import CliRunner
from jsonschema import Draft202012Validator

from harness.cli import main
from harness.spec.benchmark import Benchmark

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result

PROFILES = "profile: p\nprofiles: {p: {seeds: [3]}, q: {seeds: [4]}}\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file.yaml"
    path.write_text(SMALL)
    return path


@pytest.fixture(autouse=True)
def _invented(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.plugins.loader.load_registry", lambda **_: invented_registry())


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def read(result: Result) -> Any:
    return json.loads(result.stdout)


def test_a_right_file_is_summed_up(file: Path) -> None:
    result = run("validate", file)
    assert result.exit_code == 0
    assert result.stdout == (
        f"ok: {file}, profile default\n"
        "  models     tiny (org/tiny)\n"
        "  train      tales/train\n"
        "  evaluate   tales/test\n"
        "  reward     1 × match\n"
        "  methods    tune, push\n"
        "  seeds      0, 1\n"
        "  decoding   t1 (temperature 1, 2 draws)\n"
        "  metrics    overlap\n"
        "  tables     scores, cross-dataset, fluency, paid, overoptimisation, decoding, seeds, win-rates, "
        "reward-model, pareto, budget, timing, signal, claims, cases, published\n"
    )


def test_everything_that_can_be_summed_up(file: Path, tmp_path: Path) -> None:
    text = SMALL.replace("[org/tiny]", "[{name: n, config: {model_type: opt}, vocab_size: 9}]").replace(
        "[tales]", "[{dataset: tales, limit: 3, label: few}]"
    )
    (tmp_path / "rows").touch()
    file.write_text(text + "validation: {dataset: tales, split: validation, path: rows}\n")
    lines = run("validate", file, "-o", "decoding.t1={temperature: 0, top_k: 3, top_p: 0.5}").stdout.splitlines()
    assert "  models     n (new opt, 9 tokens)" in lines
    assert "  evaluate   tales/test[:3] as few" in lines
    assert f"  validation tales/validation ({tmp_path}/rows)" in lines
    assert "  decoding   t1 (greedy, top-k 3, top-p 0.5)" in lines


def test_every_profile_is_checked(file: Path) -> None:
    file.write_text(SMALL + PROFILES)
    assert run("validate", file).stdout.startswith(f"ok: {file}, profile p (and q)\n")
    assert run("validate", file, "--profile", "q").stdout.startswith(f"ok: {file}, profile q\n")
    file.write_text(SMALL + PROFILES.replace("[4]", "[x]"))
    result = run("validate", file)
    assert result.exit_code == 2
    assert result.stderr == f'error: {file}:16:41: seeds[0]: is wrong, got "x"; expected a whole number\n'
    # what is asked for is right
    assert run("validate", file, "--profile", "p").exit_code == 0
    assert run("validate", file, "-o", "recipe.epochs=2").exit_code == 0


def test_mistakes_come_one_a_line_in_the_files_order(file: Path) -> None:
    text = (SMALL + PROFILES).replace("epochs: 3", "epochs: 0").replace("[3]", "[-3]").replace("[4]", "[4, 4]")
    file.write_text(text.replace("small", "a b"))
    result = run("validate", file)
    assert result.exit_code == 2
    assert result.stdout == ""
    places = [line.split(": ")[1].removeprefix(f"{file}:") for line in result.stderr.splitlines()]
    assert places == ["1:12", "8:18", "16:24", "16:45"]


def test_overrides_and_profile_are_passed_on(file: Path) -> None:
    file.write_text(SMALL + PROFILES)
    result = run("validate", file, "--profile", "q", "-o", "recipe.epochs=2", "-o", "methods.push.coef=9", "--json")
    found = Benchmark.model_validate(read(result)["benchmark"])
    assert (found.profile, found.recipe.epochs, found.methods[1].options["coef"]) == ("q", 2, 9.0)
    assert run("validate", file, "-o", "nonsense").exit_code == 2


def test_json_of_a_right_file(file: Path) -> None:
    file.write_text(SMALL + PROFILES)
    result = read(run("validate", file, "--json"))
    assert result["valid"] is True
    assert result["profiles"] == ["q"]
    assert Benchmark.model_validate(result["benchmark"]).seeds == (3,)


def test_json_of_mistakes(file: Path) -> None:
    file.write_text(SMALL.replace("- tune", "- tun"))
    result = run("validate", file, "--json")
    assert result.exit_code == 2
    assert read(result) == {
        "valid": False,
        "errors": [
            {
                "where": f"{file}:12:5",
                "what": "methods.tun.use: there is no method of this name",
                "got": '"tun"',
                "expected": "one of fragile, pair, push, tune",
                "did_you_mean": "tune",
            }
        ],
    }


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (None, "no such file"),
        (b"", "is empty"),
        (b"- a", "is not a mapping"),
        (b"a: [", "is not YAML"),
        (b"\xff\xff", "is not UTF-8"),
        (b"a: 1\na: 2", "is here a second time"),
        (b"profiles: {p: 3}\nprofile: p", "profiles.p: is wrong"),
    ],
)
def test_bad_files_end_with_a_message_and_2(raw: bytes | None, message: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    if raw is not None:
        path.write_bytes(raw)
    for arguments in ([path], [path, "--json"], [path, "--profile", "p"], [path, "-o", "seeds=[1]"]):
        result = run("validate", *arguments)
        assert result.exit_code == 2
        assert message in result.output
        assert "Traceback" not in result.output
        assert isinstance(result.exception, SystemExit)


def test_the_schema_is_a_schema() -> None:
    result = run("schema")
    assert result.exit_code == 0
    schema = read(result)
    Draft202012Validator.check_schema(schema)
    assert "method-push" in schema["$defs"]


def test_neither_imports_torch(file: Path) -> None:
    code = (
        "import sys\n"
        "from harness.cli import main\n"
        "main(sys.argv[1:], standalone_mode=False)\n"
        "heavy = {'torch', 'transformers', 'datasets', 'pandas', 'numpy', 'nltk'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    for arguments in (["schema"], ["validate", str(file), "-o", "reward={use: rouge}"]):
        done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
        # the invented plugins are not installed there: the mistakes of the file are the expected ones
        assert "there is no method of this name" in done.stderr if "validate" in arguments else done.returncode == 0
        assert "heavy" not in done.stderr

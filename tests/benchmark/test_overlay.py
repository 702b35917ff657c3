# ruff: noqa: E501  # messages stand on one line, as a terminal shows them
from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from benchmark.invented import SMALL

from harness.benchmark import profiles
from harness.errors import InputErrors
from harness.spec.recipe import Recipe

if TYPE_CHECKING:
    from pathlib import Path

    from benchmark.invented import Load, Mistakes

PROFILES = (
    SMALL
    + """\
profile: fast
profiles:
  fast:
    seeds: [7]
    recipe: {epochs: 2}
    decoding: {greedy: {temperature: 0}, t1: null}
    train: {limit: 5}
  other:
    train: {dataset: made, variant: base, label: invented}
    evaluate: [{dataset: made, variant: shifted}]
    reward: {use: brevity}
    methods: [tune]
"""
).replace("train: tales", "train: {dataset: tales, language: de}")


def test_the_files_own_profile_is_the_default(load: Load) -> None:
    found = load(PROFILES)
    assert found.profile == "fast"
    assert found.seeds == (7,)
    assert (found.recipe.epochs, found.recipe.learning_rate) == (2, 1e-3)
    assert list(found.decoding) == ["greedy"]
    assert found.train.limit == 5
    assert found.train.options["language"] == "de"


def test_naming_another_plugin_replaces_the_entry(load: Load) -> None:
    found = load(PROFILES, profile="other")
    assert found.profile == "other"
    assert found.train.options == {"variant": "base"}
    assert found.reward is not None
    assert [part.use for part in found.reward.parts] == ["brevity"]
    assert [entry.label for entry in found.methods] == ["tune"]
    assert found.seeds == (0, 1)


def test_a_bare_name_merges_as_what_it_is_short_for(load: Load) -> None:
    text = SMALL + "profiles: {p: {train: {limit: 3}, evaluate: [{dataset: tales, label: x}]}, q: {train: made}}\n"
    assert load(text, profile="p").train.model_dump(include={"dataset", "limit"}) == {"dataset": "tales", "limit": 3}
    assert load(text, profile="q").train.dataset == "made"


def test_a_key_of_the_recipe_that_a_profile_makes_null_has_its_default_again(load: Load) -> None:
    text = SMALL + "profiles: {p: {recipe: {epochs: null}}}\n"
    assert load(text).recipe.epochs == 3
    assert load(text, profile="p").recipe.epochs == Recipe().epochs == 5


def test_a_file_without_profile_runs_as_it_stands(load: Load) -> None:
    assert load(SMALL).profile == "default"
    assert load(PROFILES, profile="default").recipe.epochs == 3


def test_profiles_are_listed_in_order(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(PROFILES)
    assert profiles(path) == ("fast", "other")
    path.write_text("benchmark: x")
    assert profiles(path) == ()


def test_parts_of_a_reward_replace_a_single_one(load: Load) -> None:
    text = SMALL + "profiles: {p: {reward: {parts: [match, {use: brevity, weight: 2}], aggregate: after}}}\n"
    reward = load(text, profile="p").reward
    assert reward is not None
    assert [(part.label, part.weight) for part in reward.parts] == [("match", 1.0), ("brevity", 2.0)]
    assert reward.aggregate == "after"


@pytest.mark.parametrize(
    ("addition", "profile", "message"),
    [
        ("profiles: {fast: {}}", "fats", "--profile fats: no such profile, got \"fats\"; expected one of fast; did you mean 'fast'?"),
        ("", "fast", '--profile fast: no such profile, got "fast"; expected no profile: this file has none'),
        ("profile: slow\nprofiles: {fast: {}}", None, 'file.yaml:15:10: profile: no such profile, got "slow"; expected one of fast'),
        ("profile: [fast]\nprofiles: {fast: {}}", None, "profile: no such profile"),
        ("profiles: [fast]", None, 'file.yaml:15:11: profiles: is wrong, got ["fast"]; expected name: {settings}'),
        ("profiles: {fast: 3}", "fast", "file.yaml:15:18: profiles.fast: is wrong, got 3; expected a mapping"),
        ("profiles: {fast: {benchmark: x}}", "fast", "file.yaml:15:19: profiles.fast.benchmark: cannot be set by a profile"),
        ("profiles: {../up: {}}", None, "file.yaml:15:12: profiles.../up: is not a name"),
        ("profiles: {fast: {recipe: {epochs: a}}}", "fast", 'file.yaml:15:36: recipe.epochs: is wrong, got "a"'),
        ("profiles: {fast: {recpie: {}}}", "fast", "file.yaml:15:19: recpie: unknown key; did you mean 'recipe'?"),
    ],
)  # fmt: skip
def test_wrong_profiles(addition: str, profile: str | None, message: str, mistakes: Mistakes) -> None:
    assert any(text.startswith(message) or message in text for text in mistakes(SMALL + addition, profile=profile))


def test_overrides_are_yaml_and_come_last(load: Load) -> None:
    found = load(
        PROFILES,
        "seeds=[3, 4]",
        "recipe.learning_rate=1e-5",
        "decoding.greedy.max_new_tokens=9",
        "methods.push.coef=0.75",
        "models.tiny.dtype=float64",
        "evaluate.tales.limit=3",
        "train.limit=6",
        "template.text='{instruction}'",
        "reward.variant=part",
        "methods.tune.recipe.epochs=4",
    )
    assert found.seeds == (3, 4)
    assert found.recipe.learning_rate == 1e-5
    assert found.decoding["greedy"].max_new_tokens == 9
    assert [entry.options.get("coef") for entry in found.methods] == [None, 0.75]
    assert [entry.recipe.epochs for entry in found.methods] == [4, 2]
    assert found.models[0].dtype == "float64"
    assert found.evaluate[0].limit == 3
    assert found.train.limit == 6
    assert found.template.truncate == "instruction"
    assert found.reward is not None
    assert found.reward.parts[0].options == {"variant": "part"}
    assert len(found.overrides) == 10


def test_an_override_of_the_recipe_reaches_every_row(load: Load) -> None:
    text = SMALL.replace("- tune", "- {use: tune, preset: official}").replace(
        "{use: push, coef: 0.5}", "{use: push, recipe: {epochs: 8}}"
    )
    assert [entry.recipe.epochs for entry in load(text).methods] == [7, 8]
    assert [entry.recipe.epochs for entry in load(text, "recipe.epochs=4").methods] == [4, 4]
    assert [entry.recipe.epochs for entry in load(text, "recipe={epochs: 4}").methods] == [4, 4]
    last = load(text, "recipe.epochs=4", "methods.push.recipe.epochs=5")
    assert [entry.recipe.epochs for entry in last.methods] == [4, 5]


def test_parts_and_metrics_are_named_by_label_and_use(load: Load) -> None:
    text = SMALL.replace("{use: match, variant: whole}", "{parts: [match, {use: brevity, label: short}]}")
    found = load(
        text, "reward.parts.short.weight=2", "reward.parts.match.variant=whole", "metrics.overlap.variant=whole"
    )
    assert found.reward is not None
    assert [(part.label, part.weight, part.options) for part in found.reward.parts] == [
        ("match", 1.0, {"variant": "whole"}),
        ("short", 2.0, {}),
    ]
    assert found.metrics[0].options == {"variant": "whole"}


def test_later_overrides_win(load: Load) -> None:
    assert load(SMALL, "recipe.epochs=4", "recipe.epochs=5").recipe.epochs == 5
    assert [entry.label for entry in load(SMALL, "methods=[tune]", "methods.tune.label=a").methods] == ["a"]


def test_sources_are_recorded_nowhere_but_in_sources(load: Load, tmp_path: Path) -> None:
    folder = tmp_path / "a=b: #c"
    folder.mkdir()
    found = load(SMALL, f"sources.tales={folder}", "recipe.epochs=2")
    assert found.train.path == found.evaluate[0].path == str(folder)
    assert found.sources == {"tales": str(folder)}
    assert found.overrides == ("recipe.epochs=2",)


def test_labels_with_dots_and_brackets(load: Load) -> None:
    text = SMALL.replace("{use: push, coef: 0.5}", "{use: push, label: push.1, sweep: {coef: [0.1, 0.2]}}").replace(
        "t1:", "t1.0:"
    )
    found = load(
        text,
        "methods.push.1[coef=0.2].temperatures=[3, 4]",
        "methods.push.1.temperatures=[1, 1, 1]",
        "decoding.t1.0.draws=7",
    )
    assert [(entry.label, entry.options["coef"], entry.options["temperatures"]) for entry in found.methods[1:]] == [
        ("push.1[coef=0.1]", 0.1, [1.0, 1.0, 1.0]),
        ("push.1[coef=0.2]", 0.2, [3.0, 4.0]),
    ]
    assert found.decoding["t1.0"].draws == 7
    assert [e.options["coef"] for e in load(text, "methods.push.1.sweep.coef=[9]").methods[1:]] == [9.0]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("recipe.epochs", "-o recipe.epochs: is not a setting; expected KEY=VALUE, as in recipe.learning_rate=1e-5"),
        ("=1", "-o =1: is not a setting; expected KEY=VALUE, as in recipe.learning_rate=1e-5"),
        ("recipe.epocs=1", "-o recipe.epocs=1: recipe.epocs: unknown key; did you mean 'epochs'?"),
        ("recipe.epochs=x", '-o recipe.epochs=x: recipe.epochs: is wrong, got "x"; expected a whole number'),
        ("recipe.epochs=", "-o recipe.epochs=: recipe.epochs: is wrong, got null; expected a whole number"),
        ("recipe.epochs=[1", "-o recipe.epochs=[1: recipe.epochs: is not YAML"),
        ("recipe.epochs=.nan", "-o recipe.epochs=.nan: .nan is not a number that a benchmark can use"),
        ("methods.posh.coef=1", "-o methods.posh.coef=1: methods.posh.coef: no entry of methods has this name, got \"posh\"; expected one of tune, push; did you mean 'push'?"),
        ("methods.push[coef=1].coef=1", "-o methods.push[coef=1].coef=1: methods.push[coef=1].coef: no entry of methods"),
        ("methods.push.cof=1", "-o methods.push.cof=1: methods.push.cof: unknown option of method push; did you mean 'coef'?"),
        ("methods.0.coef=1", "no entry of methods has this name"),
        ("seeds.0=1", "-o seeds.0=1: seeds: is a list; expected all of it, as in -o 'seeds=[…]'"),
        ("profile=fast", "-o profile=fast: profile: a profile is chosen by --profile"),
        ("profiles.fast.seeds=[1]", "a profile is chosen by --profile"),
        ("sources.talse=/", "-o sources.talse=/: sources.talse: no data set, model or label of this file has this name; did you mean 'tales'?"),
        ("sources.made=/nowhere", '-o sources.made=/nowhere: sources.made: no such file or folder, got "/nowhere"'),
        ("sources.=/", "-o sources.=/: is not a setting"),
        ("sources=3", "-o sources=3: sources: is wrong, got 3; expected a mapping: key: value"),
        ("benchmark.a.b=1", 'benchmark: is wrong, got {"a": {"b": 1}}; expected text'),
        (".".join("a" * 50) + "=1", "is nested more than 32 deep"),
        ("a\x1b[31m=1", "-o a\\u001b[31m=1"),
    ],
)  # fmt: skip
def test_wrong_overrides_are_blamed_as_given(override: str, message: str, mistakes: Mistakes) -> None:
    texts = mistakes(SMALL, override)
    assert any(text.startswith(message) or message in text for text in texts), texts


def test_a_relative_source_starts_from_where_it_was_given(
    load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    (here / "a.jsonl").touch()
    (tmp_path / "b.jsonl").touch()
    monkeypatch.chdir(here)
    assert load(SMALL, "sources.tales=a.jsonl").train.path == str(here / "a.jsonl")
    assert load(SMALL + "sources: {tales: b.jsonl}").train.path == str(tmp_path / "b.jsonl")
    with pytest.raises(InputErrors, match="no such file or folder"):
        load(SMALL, "sources.tales=b.jsonl")


def test_a_sweep_crosses_its_options(load: Load) -> None:
    sweep = "{use: push, sweep: {coef: [0.1, 1e-5], mode: [soft], recipe.epochs: [4, 5]}, recipe: {batch_size: 2}}"
    found = load(SMALL.replace("{use: push, coef: 0.5}", sweep)).methods[1:]
    assert [entry.label for entry in found] == [
        "push[coef=0.1,mode=soft,epochs=4]",
        "push[coef=0.1,mode=soft,epochs=5]",
        "push[coef=1e-05,mode=soft,epochs=4]",
        "push[coef=1e-05,mode=soft,epochs=5]",
    ]
    assert [(e.options["coef"], e.recipe.epochs, e.recipe.batch_size) for e in found] == [
        (0.1, 4, 2), (0.1, 5, 2), (1e-5, 4, 2), (1e-5, 5, 2),
    ]  # fmt: skip


@pytest.mark.parametrize("sweep", ["9223372036854775808", "{coef: 9223372036854775808}"])
def test_a_sweep_that_cannot_be_read_is_one_mistake(load: Load, sweep: str) -> None:
    with pytest.raises(InputErrors, match=r"number 9223372036854775808 is too large$") as refused:
        load(SMALL.replace("{use: push, coef: 0.5}", f"{{use: push, sweep: {sweep}}}"))
    assert len(refused.value.errors) == 1


def test_a_sweep_crosses_options_within_a_group(load: Load) -> None:
    entry = "{use: push, schedule: {steps: [3]}, sweep: {schedule.start: [2, 0.5]}}"
    text = SMALL.replace("{use: push, coef: 0.5}", entry)
    assert [(row.label, row.options["schedule"]) for row in load(text).methods[1:]] == [
        ("push[start=2]", {"start": 2.0, "steps": [3]}),
        ("push[start=0.5]", {"start": 0.5, "steps": [3]}),
    ]
    (row,) = load(SMALL, "methods.push.schedule.start=9").methods[1:]
    assert row.options["schedule"] == {"start": 9.0, "steps": []}


def test_swept_keys_of_one_name_are_told_apart(load: Load) -> None:
    parts = "{parts: [{use: match, label: epochs}]}"
    entry = "{use: push, sweep: {reward_weights.epochs: [0.5], recipe.epochs: [4]}}"
    text = SMALL.replace("{use: match, variant: whole}", parts).replace("{use: push, coef: 0.5}", entry)
    assert [row.label for row in load(text).methods[1:]] == ["push[reward_weights.epochs=0.5,recipe.epochs=4]"]


def test_a_sweep_crosses_weights_of_the_reward(load: Load) -> None:
    entry = "{use: push, reward_weights: {b: 0.5}, sweep: {reward_weights.match: [0, 1.5]}}"
    text = SMALL.replace("{use: match, variant: whole}", "{parts: [match, {use: brevity, label: b}]}")
    found = load(text.replace("{use: push, coef: 0.5}", entry)).methods[1:]
    assert [(row.label, row.reward_weights) for row in found] == [
        ("push[match=0]", {"b": 0.5, "match": 0.0}),
        ("push[match=1.5]", {"b": 0.5, "match": 1.5}),
    ]
    (row,) = load(text, "methods.push.reward_weights.b=3").methods[1:]
    assert row.reward_weights == {"b": 3.0}


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("{use: push, reward_weights: {mach: 1}}", "file.yaml:13:34: methods.push.reward_weights.mach: no part of the reward has this label; expected one of match; did you mean 'match'?"),
        ("{use: push, sweep: {reward_weights.mach: [1]}}", "file.yaml:13:47: methods.push[mach=1].reward_weights.mach: no part of the reward has this label"),
        ("{use: push, reward_weights: {match: a}}", 'file.yaml:13:41: methods.push.reward_weights.match: is wrong, got "a"; expected a number'),
        ("{use: push, reward_weights: 2}", "file.yaml:13:33: methods.push.reward_weights: is wrong, got 2; expected a mapping"),
        ("{use: fragile, reward_weights: {match: 1}}", "file.yaml:13:20: methods.fragile.reward_weights: method fragile reads no reward"),
        ("{use: push, reward_weights: {match: 1}, sweep: {reward_weights.match: [1]}}", "reward_weights.match is both in the sweep and in the entry"),
        ("{use: push, sweep: {reward_weights: [1]}}", "methods.push.sweep.reward_weights: cannot be swept"),
    ],
)  # fmt: skip
def test_wrong_weights_of_the_reward(entry: str, message: str, mistakes: Mistakes) -> None:
    texts = mistakes(SMALL.replace("{use: push, coef: 0.5}", entry))
    assert any(message in text for text in texts), texts


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("{use: push, sweep: {coef: 1}}", "file.yaml:13:31: methods.push.sweep.coef: is wrong, got 1; expected a list of values"),
        ("{use: push, sweep: {coef: []}}", "methods.push.sweep.coef: is wrong, got []"),
        ("{use: push, sweep: {}}", "methods.push.sweep: is wrong, got {}; expected option: [value, value, …]"),
        ("{use: push, sweep: [coef]}", "methods.push.sweep: is wrong"),
        ("{use: push, coef: 1, sweep: {coef: [1]}}", "methods.push.sweep.coef: coef is both in the sweep and in the entry"),
        ("{use: push, sweep: {label: [a]}}", "methods.push.sweep.label: cannot be swept"),
        ("{use: push, sweep: {cof: [1]}}", "methods.push[cof=1].cof: unknown option of method push; did you mean 'coef'?"),
        ("{use: push, sweep: {steps: [[1]]}}", "steps is under schedule: write schedule: {steps: …}"),
        ("{use: push, sweep: {schedule.stat: [1]}}", "methods.push[stat=1].schedule.stat: unknown option of method push; did you mean 'start'?"),
        ("{use: push, sweep: {word.a: [1]}}", "methods.push[a=1].word: is wrong"),
        ("{use: push, schedule: {start: 1}, sweep: {schedule.start: [1]}}", "schedule.start is both in the sweep and in the entry"),
        ("{use: push, sweep: {coef: [1, 1]}}", "file.yaml:13:35: methods.push[coef=1]: a second method is called push[coef=1] (the first: line 13)"),
        ("{use: push, sweep: {coef: [1, a]}}", 'file.yaml:13:35: methods.push[coef=a].coef: is wrong, got "a"; expected a number'),
        ("{use: push, sweep: {word: [a/b]}}", 'methods.push[word=a/b].label: looks like a path, got "push[word=a/b]"'),
        ("{use: push, sweep: {recipe.epoch: [1]}}", "recipe.epoch: unknown key; did you mean 'epochs'?"),
        ("{use: push, sweep: {coef: [%s], gate: [%s]}}" % ((", ".join(map(str, range(30))),) * 2), "methods.push.sweep: gives 900 rows; expected at most 500"),
    ],
)  # fmt: skip
def test_wrong_sweeps(entry: str, message: str, mistakes: Mistakes) -> None:
    texts = mistakes(SMALL.replace("{use: push, coef: 0.5}", entry))
    assert any(message in text for text in texts), texts


def test_overriding_a_swept_option_says_how(mistakes: Mistakes) -> None:
    text = SMALL.replace("{use: push, coef: 0.5}", "{use: push, sweep: {coef: [0.1]}}")
    assert mistakes(text, "methods.push.coef=3") == [
        (
            "-o methods.push.coef=3: methods.push.sweep.coef: coef is both in the sweep and in the entry\n"
            "  to override a sweep: -o methods.LABEL.sweep.coef=[…]"
        )
    ]

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from benchmark.invented import SMALL

from harness.spec.benchmark import Cases, Compare, MetricUse
from harness.spec.decoding import Decoding
from harness.spec.model import Template
from harness.spec.recipe import Recipe

if TYPE_CHECKING:
    from benchmark.invented import Load, Mistakes


def with_entry(entry: str) -> str:
    return SMALL.replace("{use: push, coef: 0.5}", entry)


def test_a_small_file_is_filled_in(load: Load) -> None:
    found = load()
    assert found.benchmark == "small"
    assert (found.models[0].name, found.models[0].label) == ("org/tiny", "tiny")
    assert found.train.model_dump(exclude_defaults=True) == {
        "dataset": "tales", "split": "train", "label": "tales", "options": {"revision": None, "language": "en"},
        "kind": "demonstrations",
    }  # fmt: skip
    assert found.evaluate[0].split == "test"
    assert found.validation is None
    assert found.reward is not None
    assert [(part.use, part.label, part.options) for part in found.reward.parts] == [
        ("match", "match", {"variant": "whole"})
    ]
    assert found.recipe == Recipe(epochs=3, learning_rate=1e-3)
    assert found.decoding == {"t1": Decoding(draws=2)}
    assert found.metrics == (MetricUse(use="overlap", options={"variant": "part"}),)
    assert found.scorer.model == "start"
    assert found.execution.threads == 1
    assert len(found.tables) == 16
    assert found.cases is None


def test_cases_are_the_first_four_of_the_first_data_set(load: Load) -> None:
    assert load(SMALL + "cases: {}").cases == Cases(dataset="tales", count=4, decoding="t1")
    assert load(SMALL + "cases: {ids: [b]}").cases == Cases(dataset="tales", ids=("b",), decoding="t1")


def test_options_have_their_defaults_and_are_plain_json(load: Load) -> None:
    tune, push = load().methods
    assert tune.options == {"reduction": "mean"}
    assert push.options == {
        "coef": 0.5, "temperatures": [1.0, 2.0], "mode": "soft", "gate": None,
        "schedule": {"start": 1.0, "steps": []}, "word": "",
    }  # fmt: skip
    assert [type(push.options[name]) for name in ("coef", "temperatures")] == [float, list]


def test_later_wins_from_defaults_to_the_entry(load: Load) -> None:
    def push(entry: str, text: str = SMALL) -> tuple[object, ...]:
        found = load(text.replace("{use: push, coef: 0.5}", entry)).methods[1]
        recipe = found.recipe
        options = found.options
        return (
            options["coef"],
            options["temperatures"],
            recipe.epochs,
            recipe.learning_rate,
            recipe.weight_decay,
            found.active,
        )

    # the default preset gives its options and never its recipe (9 epochs); the file's recipe beats the defaults
    assert push("push") == (0.25, [1.0, 2.0], 3, 1e-3, 0.05, "last")
    assert push("{use: push, coef: 0.5}") == (0.5, [1.0, 2.0], 3, 1e-3, 0.05, "last")
    # a named preset beats the file's recipe, and stands on the default preset's options
    assert push("{use: push, preset: paper}") == (0.25, [1.0, 2.0], 9, 1e-3, 0.05, "last")
    assert push("{use: push, preset: official}") == (0.75, [0.5, 1.5], 3, 5e-4, 0.01, "all_but_last")
    # the entry's own keys beat its preset
    own = "{use: push, preset: official, coef: 0.1, active: all, recipe: {learning_rate: 7e-4}}"
    assert push(own) == (0.1, [0.5, 1.5], 3, 7e-4, 0.01, "all")
    assert load(with_entry(own)).methods[1].preset == "official"


def test_what_a_preset_gives_does_not_depend_on_a_wrong_recipe_below(load: Load) -> None:
    assert load(with_entry("{use: push, preset: official, start: after}")).methods[1].start == "after"


def test_rows_are_compared_with_the_supervised_start_unless_the_file_says_otherwise(load: Load) -> None:
    assert load(SMALL).compare == Compare(baseline=None, pairs="baseline")
    assert load(SMALL + "compare: {baseline: tune, pairs: all}").compare == Compare(baseline="tune", pairs="all")


def test_the_baseline_is_a_row_that_is_trained(load: Load, mistakes: Mistakes) -> None:
    (unknown,) = mistakes(SMALL + "compare: {baseline: tunes}")
    assert 'compare.baseline: no row has this label, got "tunes"' in unknown
    assert "did you mean 'tune'?" in unknown
    (untrained,) = mistakes(SMALL + "compare: {baseline: base}")
    assert "compare.baseline: the untrained model is not part of any comparison" in untrained


def test_groups_are_of_prompts_that_rows_are_compared_on(load: Load, mistakes: Mistakes) -> None:
    assert load(SMALL.replace("[tales]", "[{dataset: tales, group: story}]")).evaluate[0].group == "story"
    (found,) = mistakes(SMALL.replace("train: tales", "train: {dataset: tales, group: story}"))
    assert "train.group: groups are of prompts that rows are compared on" in found


def test_short_and_long_forms_say_the_same(load: Load) -> None:
    long = (
        SMALL.replace("[org/tiny]", "[{name: org/tiny}]")
        .replace("train: tales", "train: {dataset: tales, split: train}")
        .replace("[tales]", "[{dataset: tales, split: test, overlong: cut}]")
        .replace("{use: match, variant: whole}", "{parts: [{use: match, variant: whole, weight: 1}]}")
        .replace("- tune", "- {use: tune, label: tune}")
        .replace("[overlap]", "[{use: overlap}]")
    )
    assert load(long) == load(SMALL)


def test_the_same_data_twice_needs_labels(load: Load, mistakes: Mistakes) -> None:
    twice = SMALL.replace("[tales]", "[tales, {dataset: tales, language: de}]")
    assert mistakes(twice) == [
        "file.yaml:6:29: evaluate.tales: a second data set of evaluate is called tales (the first: line 6)"
    ]
    found = load(twice.replace("language: de", "language: de, label: German tales"))
    assert [use.label for use in found.evaluate] == ["tales", "German tales"]


def test_a_new_model(load: Load) -> None:
    new = "[{name: new, config: {model_type: gpt2, n_layer: 2, n_positions: 700}, vocab_size: 300, label: New one}]"
    found = load(SMALL.replace("[org/tiny]", new)).models[0]
    assert (found.label, found.vocab_size) == ("New one", 300)
    assert found.config == {"model_type": "gpt2", "n_layer": 2, "n_positions": 700}


def test_a_local_model(load: Load, tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    assert load(SMALL.replace("[org/tiny]", "[{name: mine, path: weights}]")).models[0].path == str(
        tmp_path / "weights"
    )
    found = load(SMALL, f"sources.org/tiny={tmp_path}/weights", "scorer.model=org/tiny")
    assert found.models[0].path == str(tmp_path / "weights")
    assert found.sources == {"org/tiny": str(tmp_path / "weights")}
    assert load(SMALL, f"sources.tiny={tmp_path}/weights").models[0].path == str(tmp_path / "weights")


def test_paths_start_from_the_file_and_the_home_folder(
    load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "rows.jsonl").touch()
    monkeypatch.setenv("HOME", str(tmp_path))
    for path in ("rows.jsonl", "./rows.jsonl", "~/rows.jsonl", f"{tmp_path}/rows.jsonl"):
        found = load(SMALL.replace("train: tales", f"train: {{dataset: tales, path: {path}}}"))
        assert found.train.path is not None
        assert (tmp_path / "rows.jsonl").samefile(found.train.path)


def test_a_source_comes_before_a_path(load: Load, tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    (tmp_path / "b").touch()
    text = SMALL.replace("train: tales", "train: {dataset: tales, path: a}")
    assert load(text + "sources: {tales: b}").train.path == str(tmp_path / "b")


def test_a_source_that_nothing_uses_need_not_exist(load: Load) -> None:
    assert load(SMALL + "sources: {made: /nowhere}").sources == {}


def test_a_chat_template(load: Load, mistakes: Mistakes) -> None:
    def template(text: str) -> str:
        return SMALL.replace('template: {text: "{instruction} {context}:"}', f"template: {text}")

    for bare in ("chat", "{chat: true}", "{chat: chat}"):
        assert load(template(bare)).template == Template(chat=True)
    assert load(template("chat"), "template.system=Hi.").template == Template(chat=True, system="Hi.")
    whole = load(template('{chat: "{{ messages[0].content }}", text: "{instruction}"}')).template
    assert whole == Template(chat="{{ messages[0].content }}", text="{instruction}", truncate="instruction")
    for text, said in {
        "chats": 'template: is wrong, got "chats"; expected chat, or {text: …}',
        "{chat: no.jinja}": "template.chat: is not the text of a chat template, which goes over messages",
        "{chat: 1}": "template.chat: is wrong, got 1",
        "{system: Hi.}": "template.system: is for a chat template",
        "{truncate: a}": "template.text: is missing; expected a text, or chat: true",
        "{chat: true, text_without_context: a}": "template.text_without_context: needs a text beside it",
        '{chat: true, text: "none"}': "template.text: names no field of the data",
    }.items():
        assert any(said in mistake for mistake in mistakes(template(text))), text
    new = "models: [{name: new, config: {model_type: gpt2}, vocab_size: 300}]"
    drawn = template("chat").replace("models: [org/tiny]", new)
    assert any("models.new: is a new model, whose tokenizer has no chat template" in text for text in mistakes(drawn))


def test_what_ends_an_answer(load: Load, mistakes: Mistakes) -> None:
    file = load(SMALL.replace("models: [org/tiny]", 'models: [{name: org/tiny, stop: ["<|im_end|>", "\\n\\n"]}]'))
    assert file.models[0].stop == ("<|im_end|>", "\n\n")
    assert "stop" in mistakes(SMALL.replace("models: [org/tiny]", 'models: [{name: org/tiny, stop: [""]}]'))[0]


def test_template_of_one_field_is_cut_there(load: Load, mistakes: Mistakes) -> None:
    def template(text: str) -> str:
        return SMALL.replace('{text: "{instruction} {context}:"}', text)

    assert load(template('{text: "{prompt}"}')).template.truncate == "prompt"
    assert load(template('{text: "{{x}} {a}", truncate: a}')).template.text == "{{x}} {a}"
    assert "template.truncate" in mistakes(template('{text: "{a} {b}"}'))[0]


def test_a_distribution_that_is_missing_is_named_instead_of_its_plugins(load: Load, mistakes: Mistakes) -> None:
    text = SMALL + "requires: [pluggy, no-such-harness-plugins]\n"
    (message,) = mistakes(text.replace("methods: [", "methods: [no-such-method, "))
    assert "requires: this file needs plugins that are not installed, got" in message
    assert "no-such-harness-plugins" in message
    assert "pip install no-such-harness-plugins" in message
    assert load(SMALL + "requires: [pluggy]\n").requires == ("pluggy",)


def test_explicit_null_counts_as_absent_at_the_top(load: Load) -> None:
    assert load(SMALL + "validation: null\ntitle: null\nscorer:\n") == load(SMALL)


def test_a_method_that_starts_after_may_have_more_method_epochs(load: Load, mistakes: Mistakes) -> None:
    recipe = "recipe: {method_epochs: 4}"
    assert load(with_entry(f"{{use: push, start: after, {recipe}}}")).methods[1].recipe.method_epochs == 4
    assert mistakes(with_entry(f"{{use: push, {recipe}}}")) == [
        (
            "file.yaml:13:41: methods.push.recipe.method_epochs: method_epochs is 4, but there are 3 epochs in all; "
            "expected method_epochs within epochs"
        )
    ]


def test_preferences(load: Load, mistakes: Mistakes) -> None:
    text = with_entry("pair").replace("train: tales", "train: choices").replace("[tales]", "[choices]")
    assert load(text).methods[1].start == "after"
    assert mistakes(with_entry("pair")) == [
        (
            "file.yaml:13:5: methods.pair: method pair needs preferences, and tales provides demonstrations; "
            "expected a data set of preferences under train"
        )
    ]


def test_a_mistake_in_the_shared_recipe_is_said_once(mistakes: Mistakes) -> None:
    assert mistakes(SMALL, "recipe.method_epochs=9", "recipe.betas=[1, 2]") == [
        "-o recipe.betas=[1, 2]: recipe.betas[0]: is wrong, got 1; expected a number less than 1",
        "-o recipe.betas=[1, 2]: recipe.betas[1]: is wrong, got 2; expected a number less than 1",
    ]
    assert len(mistakes(SMALL, "recipe.method_epochs=9")) == 1


def test_a_plugins_own_checks_are_reported_with_its_words(mistakes: Mistakes) -> None:
    assert mistakes(with_entry("{use: push, mode: hard}")) == ["file.yaml:13:5: methods.push: mode: hard needs a gate"]
    (text,) = mistakes(with_entry("{use: fragile, size: 0}"))
    assert text == (
        "file.yaml:13:5: methods.fragile: the options of method fragile (invented 1.0) cannot be checked: "
        "ZeroDivisionError: size is nought"
    )


def model_folder(folder: Path, *files: str) -> None:
    folder.mkdir(parents=True)
    for file in files:
        (folder / file).write_text("{}", encoding="utf-8")


@pytest.mark.parametrize("name", ["models/qwen3", "models/my qwen", "./models/qwen3", "FOLDER/models/qwen3"])
def test_a_folder_is_not_taken_for_a_name_on_the_hub(mistakes: Mistakes, tmp_path: Path, name: str) -> None:
    name = name.replace("FOLDER", str(tmp_path))
    model_folder(tmp_path / Path(name), "config.json", "model.safetensors")
    (said,) = mistakes(SMALL.replace("[org/tiny]", f'["{name}"]'))
    assert "is a folder here, and would be taken for the name of a model on the hub" in said
    assert "path: " in said
    assert "models/" in said.partition("path: ")[2]
    (said,) = mistakes(SMALL + f'scorer: {{model: "{name}"}}\n')
    assert "scorer.model: is a folder here" in said


def test_an_adapter_s_folder_is_not_taken_for_a_name_either(mistakes: Mistakes, tmp_path: Path) -> None:
    model_folder(tmp_path / "org" / "tiny", "adapter_config.json")
    (said,) = mistakes(SMALL)
    assert "is a folder here" in said


def test_a_folder_that_is_named_as_one_is_read(load: Load, tmp_path: Path) -> None:
    model_folder(tmp_path / "models" / "qwen3", "config.json")
    model_folder(tmp_path / "data")  # holds no model
    path = str(tmp_path / "models" / "qwen3")
    by_path = load(
        SMALL.replace("[org/tiny]", "[{name: models/qwen3, path: models/qwen3}]") + "scorer: {model: qwen3}\n"
    )
    assert by_path.models[0].path == path
    by_source = load(SMALL.replace("[org/tiny]", "[models/qwen3]") + "sources: {models/qwen3: models/qwen3}\n")
    assert by_source.models[0].path == path
    assert load(SMALL.replace("org/tiny", "data")).models[0].path is None

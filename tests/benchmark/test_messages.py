"""The exact words for the mistakes that people make."""
# ruff: noqa: E501  # messages stand on one line, as a terminal shows them

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from benchmark.invented import SMALL

if TYPE_CHECKING:
    from benchmark.invented import Mistakes

#: (what the small file has, what it is given instead, the messages)
MISTAKES = [
    ("recipe:", "recpie:", ["8:1: recpie: unknown key; did you mean 'recipe'?"]),
    ("seeds: [0, 1]", "learning_rate: 1", [
        "1:1: seeds: is missing",
        "2:1: learning_rate: unknown key\n  learning_rate is a key of recipe",
    ]),
    ("epochs: 3", 'epochs: "3"', ['8:18: recipe.epochs: is wrong, got "3"; expected a whole number']),
    ("epochs: 3", "epochs: 3.5", ["8:18: recipe.epochs: is wrong, got 3.5; expected a whole number"]),
    ("epochs: 3", "epochs: true", ["8:18: recipe.epochs: is wrong, got true; expected a whole number"]),
    ("1e-3", "-1e-3", ["8:36: recipe.learning_rate: is wrong, got -0.001; expected a number greater than 0"]),
    ("1e-3", "nan", ['8:36: recipe.learning_rate: is wrong, got "nan"; expected a number']),
    ("1e-3", "1e-3, schedule: cosin", [
        "8:52: recipe.schedule: is wrong, got \"cosin\"; expected 'cosine', 'linear' or 'constant'; did you mean 'cosine'?",
    ]),
    ("1e-3", "1e-3, train_eos: no", ['8:53: recipe.train_eos: is wrong, got "no"; expected true or false']),
    ("1e-3", "1e-3, min_learning_rate: 0.1", [
        "8:61: recipe.min_learning_rate: min_learning_rate 0.1 is above learning_rate 0.001",
    ]),
    ("epochs: 3", "method_epochs: 4, epochs: 3", [
        "8:25: recipe.method_epochs: method_epochs is 4, but there are 3 epochs in all; expected method_epochs within epochs",
    ]),
    ("[0, 1]", "[0, 1, 0]", ["2:15: seeds: is listed twice, got 0"]),
    ("[0, 1]", "[]", ["2:8: seeds: is wrong, got []; expected at least 1 item, not 0"]),
    ("[0, 1]", "3", ["2:8: seeds: is wrong, got 3; expected a list"]),
    ("[0, 1]", "[-1, 4294967296]", [
        "2:9: seeds[0]: is wrong, got -1; expected a number greater than or equal to 0",
        "2:13: seeds[1]: is wrong, got 4294967296; expected a number less than 4294967296",
    ]),
    ("small", "../../etc", [
        "1:12: benchmark: is not a name: up to 64 letters, digits, '.', '_' and '-', a letter or digit first, got \"../../etc\"",
    ]),
    ("- tune", "- tunes", [
        ('12:5: methods.tunes.use: there is no method of this name, got "tunes"; expected one of fragile, pair, push, tune; '
        "did you mean 'tune'?"),
    ]),
    ("coef: 0.5", "cof: 0.5", ["13:17: methods.push.cof: unknown option of method push; did you mean 'coef'?"]),
    ("coef: 0.5", "coef: -1, temperatures: [1]", [
        "13:23: methods.push.coef: is wrong, got -1; expected a number greater than or equal to 0",
        "13:41: methods.push.temperatures: is wrong, got [1]; expected at least 2 items, not 1",
    ]),
    ("coef: 0.5", "temperatures: [1, x], schedule: {stp: 1, steps: [a]}", [
        '13:35: methods.push.temperatures[1]: is wrong, got "x"; expected a number',
        "13:50: methods.push.schedule.stp: unknown option of method push; did you mean 'steps'?",
        '13:66: methods.push.schedule.steps[0]: is wrong, got "a"; expected a whole number',
    ]),
    ("coef: 0.5", "steps: [1]", [
        ("13:17: methods.push.steps: unknown option of method push\n"
        "  steps is under schedule: write schedule: {steps: …}, or schedule.steps in a sweep and after -o"),
    ]),
    ("coef: 0.5", "stpes: [1]", [
        "13:17: methods.push.stpes: unknown option of method push; did you mean 'schedule.steps'?",
    ]),
    ("coef: 0.5", "schedule: {coef: 1}", [
        ("13:28: methods.push.schedule.coef: unknown option of method push; expected one of start, steps\n"
        "  coef does not belong under schedule: write it beside schedule"),
    ]),
    ("coef: 0.5", "schedule: {nothing: 1}", [
        "13:28: methods.push.schedule.nothing: unknown option of method push; expected one of start, steps",
    ]),
    ("coef: 0.5", "learning_rate: 1", [
        ("13:17: methods.push.learning_rate: unknown option of method push; "
        "expected one of coef, gate, mode, schedule, temperatures, word\n"
        "  learning_rate is a key of recipe: write recipe: {learning_rate: …}"),
    ]),
    ("coef: 0.5", "recipe: {epoch: 1, epochs: a}", [
        "13:26: methods.push.recipe.epoch: unknown key; did you mean 'epochs'?",
        '13:44: methods.push.recipe.epochs: is wrong, got "a"; expected a whole number',
    ]),
    ("coef: 0.5", "recipe: 3", ["13:25: methods.push.recipe: is wrong, got 3; expected a mapping: key: value"]),
    ("coef: 0.5", "preset: offical", [
        ('13:25: methods.push.preset: method push has no such preset, got "offical"; expected one of paper, official; '
        "did you mean 'official'?"),
    ]),
    ("coef: 0.5", "active: first, start: befor", [
        "13:25: methods.push.active: is wrong, got \"first\"; expected 'last', 'all_but_last' or 'all', or a whole number",
        "13:39: methods.push.start: is wrong, got \"befor\"; expected 'branch' or 'after'",
    ]),
    ("coef: 0.5", "label: tune", ['13:24: methods.tune.label: tune is the label of the row of the shared start, got "tune"']),
    ("coef: 0.5", "label: base", ["13:24: methods.base.label: base is the label of the untrained model's row"]),
    ("coef: 0.5", "label: a/../b", [
        '13:24: methods.a/../b.label: looks like a path, got "a/../b"; expected printable text without / and \\',
    ]),
    ("coef: 0.5", 'label: "a\\u202eb"', [
        ('13:24: methods.a\\u202eb.label: holds a character that cannot be printed, got "a\\u202eb"; '
        "expected printable text without / and \\"),
    ]),
    ("{use: push, coef: 0.5}", "{coef: 0.5}", ["13:5: methods[1].use: is missing"]),
    ("{use: push, coef: 0.5}", "[push]", ['13:5: methods[1]: is wrong, got ["push"]; expected a mapping: key: value',
                                          "13:5: methods[1].use: is missing"]),
    ("reward: {use: match, variant: whole}\n", "", [
        "12:11: methods.push: method push needs a reward, and the file has none; expected reward: at the top of the file",
    ]),
    ("variant: whole", "variant: hole", [
        "7:31: reward.variant: is wrong, got \"hole\"; expected 'part' or 'whole'; did you mean 'whole'?",
    ]),
    ("{use: match, variant: whole}", "{use: brevity, variant: whole}", [
        "7:24: reward.variant: unknown option of reward brevity; expected no options at all",
    ]),
    ("{use: match, variant: whole}", "{parts: [{use: match, wieght: 2}, brevity, brevity], agregate: after}", [
        "7:31: reward.parts[0].wieght: unknown option of reward match; expected one of variant",
        "7:52: reward.parts[2]: a second part is called brevity (the first: line 7)",
        "7:62: reward.agregate: unknown key; did you mean 'aggregate'?",
    ]),
    ("train: tales", "train: {dataset: tale}", [
        ('5:18: train.dataset: there is no dataset of this name, got "tale"; expected one of choices, made, tales; '
        "did you mean 'tales'?"),
    ]),
    ("train: tales", "train: {dataset: tales, split: trian, limt: 3}", [
        ('5:32: train.split: data set tales has no such split, got "trian"; expected one of train, validation, test; '
        "did you mean 'train'?"),
        "5:39: train.limt: unknown option of dataset tales; expected one of language, revision",
    ]),
    ("train: tales", "train: {dataset: tales, path: nowhere.jsonl}", [
        '5:31: train.path: no such file or folder, got "nowhere.jsonl"\n  looked for nowhere.jsonl',
    ]),
    ("train: tales", "train: {dataset: tales, path: fil.yaml}", [
        '5:31: train.path: no such file or folder, got "fil.yaml"; did you mean \'file.yaml\'?\n  looked for fil.yaml',
    ]),
    ("train: tales", "train: {dataset: made, path: file.yaml}", [
        "5:30: train.path: data set made is generated and reads no file",
    ]),
    ("[tales]", "[{dataset: tales, split: train}]", [
        "6:12: evaluate.tales: is the split that is trained on\n  choose another split",
    ]),
    ("[tales]", "tales", ['6:11: evaluate: is wrong, got "tales"; expected a list of one or more entries']),
    ("[org/tiny]", "[./tiny]", [
        ('3:10: models.tiny.name: is not a name, got "./tiny"; expected owner/name of a model on the hub, or a short name\n'
        "  a folder on disk goes under path:, beside a name for the tables"),
    ]),
    ("[org/tiny]", "[org/tiny, other/tiny]", ["3:20: models.tiny: a second model is called tiny (the first: line 3)"]),
    ("[org/tiny]", "[{name: a, config: {n_layer: 1, vocab_size: 3}}]", [
        "3:28: models.a.config: names no model_type; expected model_type: gpt2, opt, gpt_neox, …",
        ("3:28: models.a.vocab_size: is missing: a model with random weights needs a tokenizer; "
        "expected the entries of its BPE, such as 2000"),
        "3:53: models.a.config.vocab_size: the number of tokens is given beside config, as vocab_size of the model",
    ]),
    ("[org/tiny]", "[{name: a, vocab_size: 3}]", [
        "3:32: models.a.vocab_size: is for a model with random weights; expected config beside it",
    ]),
    ("[org/tiny]", "[{name: a, config: {model_type: gpt2, n_positions: 64}, vocab_size: 3}]", [
        "8:9: recipe: prompt and answer may take 640 tokens; model a has room for 64",
        "10:7: decoding.t1: prompt and answer may take 640 tokens; model a has room for 64",
    ]),
    ("draws: 2", "temperature: 2", ['10:26: key "temperature" is here a second time (first in line 10)']),
    ("temperature: 1.0", "temperature: 0", [
        "10:31: decoding.t1.draws: greedy answers are all the same: one draw says it all, got 2",
    ]),
    ("t1: {temperature: 1.0, draws: 2}", "t1: null", [
        "10:3: decoding: names no way to decode; expected name: {settings}",
    ]),
    ("{instruction} {context}:", "{instruction {context}:", [
        ('4:18: template.text: broken placeholder, got "{instruction "; expected {field} with a plain name, or {{ and }} for '
        "braces"),
    ]),
    ("{instruction} {context}:", "Answer:", [
        "4:18: template.text: names no field of the data\n  {instruction} means the field of a row",
    ]),
    ('{context}:"', '{context}:", text_without_context: "{context}"', [
        "4:68: template.text_without_context: is for rows whose context is empty, and names it",
    ]),
    ("[overlap]", "[overlap, overlap]", ["14:20: metrics.overlap: a second metric is called overlap (the first: line 14)"]),
    ("[overlap]", "[overlap]\ntables: [score]", [
        ("15:10: tables[0]: is wrong, got \"score\"; expected 'scores', 'cross-dataset', 'fluency', 'paid', 'overoptimisation', "
        "'decoding', 'seeds', 'win-rates', 'reward-model', 'pareto', 'budget', 'timing', 'signal', 'claims', 'cases' or 'published'; did you mean 'scores'?"),
    ]),
    ("[overlap]", "[overlap]\nexecution: {threads: 0, device: tpu}", [
        "15:22: execution.threads: is wrong, got 0; expected a number greater than 0",
        '15:33: execution.device: is wrong, got "tpu"; expected text that matches \'^(auto|cpu|cuda(:[0-9]{1,3})?)$\'',
    ]),
    ("[overlap]", "[overlap]\nscorer: {model: no model}", [
        ('15:17: scorer.model: is not the name of a model, got "no model"; expected start, a name in models, a hub name, or a name that '
        "sources gives a folder"),
    ]),
    ("[overlap]", "[overlap]\ntitle: [a]\npublished: a b", [
        '15:8: title: is wrong, got ["a"]; expected text',
        "16:12: published: is not a name: up to 64 letters, digits, '.', '_' and '-', a letter or digit first, got \"a b\"",
    ]),
    ("[overlap]", "[overlap]\ncases: {dataset: tale, decoding: t2, count: 2, ids: [a]}", [
        '15:18: cases.dataset: names no data set of evaluate, got "tale"; expected one of tales; did you mean \'tales\'?',
        '15:34: cases.decoding: names no decoding, got "t2"; expected one of t1',
        "15:53: cases.ids: prompts are chosen by count or by ids, not both",
    ]),
    ("[overlap]", "[overlap]\ncases: {count: 0}", ["15:16: cases.count: is wrong, got 0; expected a number greater than 0"]),
    ("[overlap]", "[overlap]\npareto: [overlap.plain]", [
        '15:9: pareto: is wrong, got ["overlap.plain"]; expected at least 2 items, not 1',
        ('15:10: pareto[0]: neither more nor less of this column is better, got "overlap.plain"\n'
        "  write -overlap.plain where less is better, +overlap.plain where more is"),
    ]),
    ("[overlap]", "[overlap]\npareto: [overlap.overla, -overlap.plain, +overlap.plain]", [
        ('15:10: pareto[0]: no metric of this file has such a column, got "overlap.overla"; expected one of overlap.overlap, '
        "overlap.plain; did you mean 'overlap.overlap'?"),
        '15:42: pareto[2]: is listed twice, got "+overlap.plain"',
    ]),
    ("[overlap]", "[overlap]\noveroptimisation: {gold: overlap.overla, proxy: overlap.plain, form: bno}", [
        "15:1: overoptimisation.kl: is missing",
        "15:70: overoptimisation.form: is wrong, got \"bno\"; expected 'rl' or 'bon'; did you mean 'bon'?",
    ]),
    ("[overlap]", "[overlap]\noveroptimisation: {gold: overlap.overla, proxy: overlap.plain, kl: overlap.plain}", [
        ('15:26: overoptimisation.gold: no metric of this file has such a column, got "overlap.overla"; expected one of '
        "overlap.overlap, overlap.plain; did you mean 'overlap.overlap'?"),
    ]),
]  # fmt: skip


@pytest.mark.parametrize(("there", "instead", "messages"), MISTAKES, ids=[instead[:40] for _, instead, _ in MISTAKES])
def test_messages(there: str, instead: str, messages: list[str], mistakes: Mistakes, tmp_path: object) -> None:
    assert SMALL.count(there) == 1 or there in {"1e-3", "[tales]", "small", "[0, 1]"}
    found = [text.replace(f"{tmp_path}", "FOLDER") for text in mistakes(SMALL.replace(there, instead, 1))]
    assert found == [f"file.yaml:{message}" for message in messages]


def test_all_mistakes_of_a_file_are_reported_in_its_order(mistakes: Mistakes) -> None:
    broken = SMALL
    for there, instead in [
        ("small", "a b"), ("[0, 1]", "[.nan, 1]"), ("org/tiny", "/tiny"), ("train: tales", "train: tale"),
        ("epochs: 3", "epochs: 0"), ("1e-3", "x"), ("- tune", "- tun"), ("coef: 0.5", "coef: x, cof: 1"), ("[overlap]", "[over]"),
    ]:  # fmt: skip
        broken = broken.replace(there, instead, 1)
    found = mistakes(broken + "sede: 3\n", "recipe.betas=3")
    places = [text.split(": ")[0].removeprefix("file.yaml:") for text in found]
    assert places == [
        "1:12",
        "2:9",
        "3:10",
        "5:8",
        "8:18",
        "8:36",
        "12:5",
        "13:23",
        "13:26",
        "14:11",
        "15:1",
        "-o recipe.betas=3",
    ]


def test_very_many_mistakes_are_cut_short(mistakes: Mistakes) -> None:
    found = mistakes(SMALL + "".join(f"key{n}: 1\n" for n in range(500)))
    assert len(found) == 101
    assert found[-1] == "file.yaml: … and 400 more"


def test_an_unknown_key_is_refused_even_where_it_is_null(mistakes: Mistakes) -> None:
    assert mistakes(f"{SMALL}metrcs: null\n") == ["file.yaml:15:1: metrcs: unknown key; did you mean 'metrics'?"]
    assert "unknown key" in mistakes(SMALL, "metrcs=null")[0]
    (said,) = mistakes(f"{SMALL}profile: p\nprofiles: {{p: {{recipe: {{epoch: null}}}}}}\n")
    assert said == "file.yaml:16:25: recipe.epoch: unknown key; did you mean 'epochs'?"

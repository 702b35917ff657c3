"""The probe of grammar: its sentences, and what is made of their likelihoods."""

from __future__ import annotations

import hashlib
import re
from typing import Any

from harness.testing import check_metric
from harness_plugins.metrics import minimal_pairs as metric
from harness_plugins.metrics.minimal_pairs import MinimalPairs, MinimalPairsOptions
from harness_plugins.text.paradigms import PARADIGMS, VERSION, minimal_pairs
from harness_plugins.text.share import of_share


def test_pairs_begin_alike_and_differ_in_one_word() -> None:
    pairs = [pair for key in map(str, range(200)) for pair in minimal_pairs(key, 6)]
    assert {pair.paradigm for pair in pairs} == set(PARADIGMS)
    for pair in pairs:
        right, wrong = pair.right.split(), pair.wrong.split()
        assert len(right) == len(wrong)
        assert right[0] == wrong[0]
        assert sum(a != b for a, b in zip(right, wrong, strict=True)) == 1
        assert re.fullmatch(r"[A-Z][a-z]+( [a-z]+)+\.", pair.right)
        assert not re.search(r"\ba [aeiou]", pair.right)


def test_each_rule_is_broken_as_its_name_says() -> None:
    singular = {"sleeps", "works", "waits", "runs", "sits", "plays", "stands", "lives", "eats", "sings", "is", "has"}
    for key in map(str, range(300)):
        for pair in minimal_pairs(key, len(PARADIGMS)):
            changed = [(a, b) for a, b in zip(pair.right.split(), pair.wrong.split(), strict=True) if a != b]
            ((good, bad),) = changed
            subject = pair.right.split()[1]
            many = subject in {"children", "women", "men"} or subject.endswith("s")
            if pair.paradigm in {"verb", "attractor", "auxiliary"}:
                assert (good in singular) != many
                assert (bad in singular) == many
            elif pair.paradigm == "determiner":
                one = next(word for word in pair.right.split() if word in {"this", "these", "that", "those"})
                after = pair.right.split()[pair.right.split().index(one) + 2]
                assert (one in {"these", "those"}) == after.endswith("s")
            elif pair.paradigm == "reflexive":
                assert (good == "herself") == (pair.right.split()[2] in {"woman", "girl", "queen"})
            else:
                assert (good == "is") == (" a " in pair.right)


def test_sentences_are_pinned() -> None:
    """Other sentences are another version."""
    text = "\n".join(f"{p.paradigm}: {p.right} | {p.wrong}" for p in minimal_pairs("golden", 24))
    assert (VERSION, hashlib.sha256(text.encode()).hexdigest()[:16]) == (1, "62d168620475a32d")


def test_the_share_of_pairs_that_it_prefers(samples: Any, services: Any) -> None:
    (made,) = samples([("whatever", [])])
    pairs = minimal_pairs("0", 6)
    services.table = {text: (5.0, 4) for pair in pairs for text in (pair.right, pair.wrong)}
    services.table[pairs[0].right] = (4.0, 4)  # more probable: right
    services.table[pairs[1].wrong] = (3.0, 4)  # wrong
    result = MinimalPairs(MinimalPairsOptions()).score([made, made], services)
    assert result.values["grammatical"] == [(1 + 0 + 4 * 0.5) / 6] * 2  # equal log-probabilities count half
    assert result.values["margin"] == [(1.0 - 2.0) / 6] * 2
    assert result.corpus == {**dict.fromkeys(PARADIGMS, 0.5), pairs[0].paradigm: 1.0, pairs[1].paradigm: 0.0}
    assert len(services.texts) == 12  # once an example


def test_of_a_share_of_the_prompts(samples: Any, services: Any) -> None:
    made = samples([("x", [])] * 20)
    asked = of_share(made, 0.4)
    pairs = [pair for sample in asked for pair in minimal_pairs(sample.id, 2)]
    services.table = {text: (5.0, 4) for pair in pairs for text in (pair.right, pair.wrong)}
    result = MinimalPairs(MinimalPairsOptions(pairs=2, share=0.4)).score(made, services)
    assert result.values["grammatical"] == [0.5 if sample in asked else None for sample in made]
    assert result.corpus == dict.fromkeys({pair.paradigm for pair in pairs}, 0.5)
    assert "|share:0.4|" in result.signature


def test_it_keeps_the_contract() -> None:
    (registration,) = metric.harness_register_metrics()
    check_metric(registration, {"pairs": 13, "share": 0.5})

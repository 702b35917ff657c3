"""What a metric or a reward cannot read has no value and is counted, never scored as 0 in silence."""

from __future__ import annotations

from typing import Any

import pytest

from harness.api import NoOptions
from harness_plugins.metrics.bleu import Bleu, BleuOptions
from harness_plugins.metrics.chrf import Chrf, ChrfOptions
from harness_plugins.metrics.diversity import Diversity, DiversityOptions
from harness_plugins.metrics.exact_match import ExactMatch, ExactMatchOptions
from harness_plugins.metrics.gleu import Gleu
from harness_plugins.metrics.rouge import Rouge, RougeOptions
from harness_plugins.rewards.rouge import RougeRewardOptions, rouge_reward
from harness_plugins.text.rouge import unread
from harness_plugins.text.scripts import unspaced

CHINESE, THAI, GREEK, ARABIC = "东京是日本的首都。", "กรุงเทพเป็นเมืองหลวง", "πόλη είναι", "القاهرة مدينة"
PAIRS = [
    (CHINESE, [CHINESE]), (GREEK, ["Athens is a city"]), ("Tokyo is a city", [CHINESE, "Tokyo is the capital"]),
    ("Tokyo is a city", [CHINESE]), ("", ["Tokyo"]), ("... !", ["Tokyo"]), ("东京 2020", ["2020"]), ("Tokyo", []),
]  # fmt: skip


@pytest.mark.parametrize("text", [CHINESE, THAI, GREEK, ARABIC, "é", "½"])
def test_letters_of_which_rouge_reads_none(text: str) -> None:
    assert unread(text)


@pytest.mark.parametrize("text", ["", "... !", "🙂", "naïve", "x 东京", "7", "\u212aelvin"])
def test_other_texts_are_read(text: str) -> None:
    assert not unread(text)


def test_rouge_has_no_value_for_what_it_cannot_read(samples: Any, services: Any) -> None:
    result = Rouge(RougeOptions()).score(samples(PAIRS), services)
    for values in result.values.values():
        assert [value is None for value in values] == [True, True, False, True, False, False, False, True]
    assert result.values["rougeL"][4:6] == [0.0, 0.0]
    assert result.values["rouge1"][6] == 1.0
    assert list(result.notes.values()) == [2, 3]
    first, second = result.notes
    assert first.startswith("answers in letters of which ROUGE reads none")
    assert second.startswith("references in letters of which ROUGE reads none")


def test_what_can_be_read_needs_no_note(samples: Any, services: Any) -> None:
    english = samples([("Tokyo is a city", ["Tokyo is the capital"]), ("", ["x"])])
    for metric in (Rouge(RougeOptions()), Gleu(NoOptions()), Bleu(BleuOptions()), Diversity(DiversityOptions())):
        assert metric.score(english, services).notes == {}


def test_tokens_of_a_script_without_spaces_are_said_to_be_clauses(samples: Any, services: Any) -> None:
    listed = samples([(CHINESE, ["Tokyo"]), ("Tokyo", [THAI]), ("Tokyo is a city", ["Tokyo"]), (GREEK, [GREEK])])
    for metric in (Gleu(NoOptions()), Bleu(BleuOptions())):
        assert list(metric.score(listed, services).notes.values()) == [2]
    assert list(Diversity(DiversityOptions()).score(listed, services).notes.values()) == [1]
    assert Bleu(BleuOptions(tokenize="char")).score(listed, services).notes == {}
    assert Chrf(ChrfOptions()).score(listed, services).notes == {}


def test_exact_match_and_chrf_read_every_script(samples: Any, services: Any) -> None:
    for text in (CHINESE, THAI, GREEK, ARABIC):
        pair = samples([(text, [text]), (text, ["Tokyo"])])
        assert ExactMatch(ExactMatchOptions()).score(pair, services).values["exact_match"] == [1.0, 0.0]
        assert Chrf(ChrfOptions()).score(pair, services).values["chrf"] == pytest.approx([100.0, 0.0])


def test_scripts_without_spaces() -> None:
    assert [unspaced(text) for text in (CHINESE, THAI, "東京タワー", "Tokyo 東京 Tower")] == [True, True, True, False]
    assert not any(unspaced(text) for text in ("", GREEK, ARABIC, "서울은 도시다", "..."))


def test_the_reward_is_absent_and_the_log_says_why() -> None:
    logged: list[tuple[str, float]] = []

    def call(*pairs: tuple[str, list[str]]) -> list[float | None]:
        answers = [answer for answer, _ in pairs]
        columns: dict[str, Any] = {"references": [known for _, known in pairs]}
        reward = rouge_reward(RougeRewardOptions())
        ids = [[0]] * len(answers)
        found = reward(
            prompts=answers,
            completions=answers,
            completion_ids=ids,
            log_metric=lambda *said: logged.append(said),
            **columns,
        )
        return list(found)

    assert call(*PAIRS[:2], ("Tokyo", ["Tokyo"]), ("", ["Tokyo"])) == [None, None, 1.0, 0.0]
    assert logged == [("rouge: share of samples in letters of which it reads none", 0.5)]
    assert call(("Tokyo", ["Tokyo"])) == [1.0]
    assert len(logged) == 1

"""Loss on text of another kind: which passages are read, and from what."""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import ValidationError

from harness.api import InputError
from harness.testing import check_metric
from harness_plugins.metrics import text_loss
from harness_plugins.metrics.text_loss import TextLoss, TextLossOptions
from harness_plugins.text.passages import generated_passages, passages_of
from harness_plugins.text.share import of_share

if TYPE_CHECKING:
    from pathlib import Path

TEXT = 'He said: "Go on!" She went.\nA new line\twith  blanks\n\n  Then two words and some more.'


@pytest.fixture
def novel(tmp_path: Path) -> Path:
    path = tmp_path / "novel.txt"
    path.write_text(TEXT, encoding="utf-8")
    return path


def test_passages_begin_where_sentences_and_lines_do() -> None:
    found = Counter(passages_of(TEXT, 3, [str(number) for number in range(500)]))
    assert set(found) == {'He said: "Go', "She went.\nA", "A new line", "Then two words"}
    assert min(found.values()) > 80  # of 125


@pytest.mark.parametrize(("text", "words"), [("one two", 5), ("one two", 2), ("  one   two\n", 9)])
def test_a_short_text_is_one_passage(text: str, words: int) -> None:
    assert set(passages_of(text, words, ["a", "b", "c"])) == {text.strip()}


def test_without_a_sentence_they_begin_anywhere() -> None:
    found = set(passages_of("a b c d e", 2, [str(number) for number in range(100)]))
    assert found == {"a b", "b c", "c d", "d e"}


@pytest.mark.parametrize("name", ["generated-summaries", "generated-instructions"])
def test_generated_texts_are_the_same_for_the_same_keys(name: str) -> None:
    keys = [str(number) for number in range(50)]
    found = generated_passages(name, keys)
    assert found == generated_passages(name, keys[::-1])[::-1]
    assert len(set(found)) > 40
    assert all(len(text.split()) > 5 for text in found)


def test_loss_a_token_once_an_example(samples: Any, services: Any, novel: Path) -> None:
    made = samples([("x", []), ("y", [])])
    options = TextLossOptions(file=str(novel), words=3)
    passages = passages_of(TEXT, 3, ["0", "1"])
    services.table = {passages[0]: (6.0, 3), passages[1]: (1.0, 2)}
    result = TextLoss(options).score([*made, made[0]], services)
    assert result.values["text_loss"] == [2.0, 0.5, 2.0]
    assert result.corpus == {"text_loss": 7 / 5}
    assert services.texts == passages
    assert f"text:file {hashlib.sha256(novel.read_bytes()).hexdigest()[:16]}, 3 words|" in result.signature


def test_loss_of_a_share_of_the_prompts(samples: Any, services: Any) -> None:
    made = samples([("x", [])] * 20)
    asked = of_share(made, 0.4)
    passages = generated_passages("generated-summaries", [sample.id for sample in asked])
    services.table = dict.fromkeys(passages, (6.0, 3))
    result = TextLoss(TextLossOptions(share=0.4)).score(made, services)
    assert result.values["text_loss"] == [2.0 if sample in asked else None for sample in made]
    assert result.corpus == {"text_loss": 2.0}
    assert services.texts == passages
    assert result.signature.split("|posttune")[0].endswith("|share:0.4")


def test_the_content_of_the_file_is_part_of_the_options(novel: Path) -> None:
    options = TextLossOptions(file=str(novel))
    assert options.sha256 == hashlib.sha256(novel.read_bytes()).hexdigest()
    assert TextLossOptions.model_validate(options.model_dump()) == options
    novel.write_text("Other words.", encoding="utf-8")
    with pytest.raises(ValidationError, match="it is another text than before"):
        TextLossOptions.model_validate(options.model_dump())
    with pytest.raises(InputError, match="was changed while the benchmark ran"):
        TextLoss(options).score([_sample()], None)  # type: ignore[arg-type]  # nobody is asked


@pytest.mark.parametrize(
    ("content", "said"), [(None, "there is no file"), (b"\xff\xfe", "is not text in UTF-8"), (b" \n", "has no words")]
)
def test_a_file_that_cannot_be_read(tmp_path: Path, content: bytes | None, said: str) -> None:
    path = tmp_path / "text"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValidationError, match=said):
        TextLossOptions(file=str(path))


def test_a_digest_without_a_file_is_a_mistake() -> None:
    with pytest.raises(ValidationError, match="no file is named"):
        TextLossOptions(sha256="0" * 64)


def test_it_keeps_the_contract(novel: Path) -> None:
    (registration,) = text_loss.harness_register_metrics()
    check_metric(registration)
    check_metric(registration, {"file": str(novel), "words": 2})
    check_metric(registration, {"share": 0.5})


def _sample() -> Any:
    from harness.api import Sample

    return Sample("0", 0, "p", "x", 1, True, ())

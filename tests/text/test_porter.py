from __future__ import annotations

import gzip
import json
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
from nltk.stem.porter import PorterStemmer

from harness_plugins.text import porter
from harness_plugins.text.porter import porter_stem

if TYPE_CHECKING:
    from pathlib import Path

NLTK = PorterStemmer().stem


@pytest.mark.parametrize(
    ("word", "stem"),
    # the examples of Porter's paper, by step, where nltk's extensions do not change them
    [
        ("caresses", "caress"), ("ponies", "poni"), ("cats", "cat"),
        ("agreed", "agre"), ("feed", "feed"), ("plastered", "plaster"), ("bled", "bled"), ("motoring", "motor"),
        ("sing", "sing"), ("conflated", "conflat"), ("troubled", "troubl"), ("hopping", "hop"), ("falling", "fall"),
        ("hissing", "hiss"), ("fizzed", "fizz"), ("failing", "fail"), ("filing", "file"),
        ("happy", "happi"), ("relational", "relat"), ("conditional", "condit"), ("rational", "ration"),
        ("digitizer", "digit"), ("vietnamization", "vietnam"), ("operator", "oper"), ("hopefulness", "hope"),
        ("triplicate", "triplic"), ("electrical", "electr"), ("goodness", "good"),
        ("revival", "reviv"), ("replacement", "replac"), ("adoption", "adopt"), ("homologous", "homolog"),
        ("probate", "probat"), ("rate", "rate"), ("cease", "ceas"), ("controlling", "control"), ("rolling", "roll"),
    ],
)  # fmt: skip
def test_the_papers_examples(word: str, stem: str) -> None:
    assert porter_stem(word) == stem == NLTK(word)


@pytest.mark.parametrize(
    ("word", "stem"),
    [
        ("dies", "die"), ("died", "die"), ("tied", "tie"), ("skies", "sky"), ("enjoy", "enjoy"), ("spy", "spi"),
        ("ably", "abli"), ("possibly", "possibl"), ("hopefully", "hope"), ("apologi", "apolog"),
        ("rationally", "ration"), ("using", "use"), ("oy", "oy"), ("yyyy", "yyyi"),
        ("3rds", "3rd"), ("s", "s"), ("ing", "ing"),
    ],
)  # fmt: skip
def test_the_extensions(word: str, stem: str) -> None:
    assert porter_stem(word) == NLTK(word)
    assert porter_stem(word) == stem


def test_equals_nltk_on_words_made_of_suffixes() -> None:
    rng = np.random.default_rng(11)
    suffixes = [*porter._STEP_2, *porter._STEP_3, *sorted(porter._STEP_4), *porter._IRREGULAR]
    suffixes += ["s", "es", "ies", "sses", "ss", "ed", "ing", "eed", "ied", "y", "e", "ll", "at", "bl", "iz", "li", ""]
    letters = np.array(list("aeiouybcdlstzwx1"))
    starts = ["".join(letters[rng.integers(len(letters), size=n)]) for n in rng.integers(0, 6, size=40_000)]
    ends = rng.integers(len(suffixes), size=(40_000, 2)).tolist()
    words = {start + suffixes[i] + suffixes[j] for start, (i, j) in zip(starts, ends, strict=True)} - {""}
    assert len(words) > 35_000
    assert {word: porter_stem(word) for word in words} == {word: NLTK(word) for word in words}


def test_equals_nltk_on_every_word_of_real_text(real_data: Path) -> None:
    words: set[str] = set()
    with gzip.open(real_data / "dolly" / "databricks-dolly-15k.jsonl.gz", "rt", encoding="utf-8") as lines:
        for line in lines:
            words.update(re.findall("[a-z0-9]+", " ".join(map(str, json.loads(line).values())).lower()))
    assert len(words) > 40_000
    assert {word: porter_stem(word) for word in words} == {word: NLTK(word) for word in words}


def test_a_long_run_of_y_takes_no_longer_than_its_length() -> None:
    assert porter_stem("y" * 200_000) == NLTK("y" * 200_000)


def test_nltk_is_not_loaded() -> None:
    code = (
        "import sys; from harness_plugins.text.rouge import RougeScorer; "
        "print(RougeScorer().scores('rougeL', ['running dogs'], [['run dog']]), 'nltk' in sys.modules, "
        "'scipy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[1.0] False False"

"""What a file may say of a judge; a key in it is refused and not repeated."""

from __future__ import annotations

import copy
import pickle  # noqa: TID251  # what must not work
from typing import TYPE_CHECKING, Any

import pytest
from metrics.win_rate.cases import CANARY, options
from pydantic import ValidationError

from harness_plugins.metrics.win_rate.options import WinRateOptions
from harness_plugins.metrics.win_rate.secret import Secret, read_key

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"judge": "endpoint"}, "needs the model's name"),
        ({"judge": "rule", "model": "m"}, "model is for judge: endpoint, and the judge is rule"),
        ({"judge": "reward-model", "rule": "shorter"}, "rule is for judge: rule"),
        ({"judge": "rule", "against": ["a", "a"]}, "is listed twice"),
        ({"judge": "rule", "against": []}, "at least 1 item"),
        ({"judge": "endpoint", "model": "m", "max_cost": 1.0}, "max_cost needs price_per_million"),
        ({"judge": "endpoint", "model": "m", "base_url": "api.openai.com"}, "must begin with http"),
        ({"judge": "endpoint", "model": "m", "price_per_million": {"input": 1.0}}, "Field required"),
        ({"judge": "endpoint", "model": "m", "template": "/no/such/file"}, "cannot be read: No such file"),
        ({"judge": "endpoint", "model": "m", "template_sha256": "0"}, "goes with a template"),
        ({"judge": "endpoint", "model": "m", "concurrency": 0}, "greater than 0"),
    ],
)
def test_what_does_not_fit(values: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        WinRateOptions.model_validate(values)


@pytest.mark.parametrize(
    "values",
    [
        {"api_key_env": CANARY},
        {"base_url": f"https://user:{CANARY}@host/v1"},
        {"base_url": f"https://h/v1?key={CANARY}"},
    ],
)
def test_a_key_in_the_file_is_refused_and_the_message_does_not_blame_its_value(values: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as caught:
        WinRateOptions.model_validate({"judge": "endpoint", "model": "m", **values})
    (error,) = caught.value.errors()
    assert CANARY not in error["msg"]
    assert error["loc"] == ()  # of the whole entry: messages of the file repeat no mapping


def test_a_template(tmp_path: Path) -> None:
    path = tmp_path / "request.txt"
    path.write_text("{prompt} {answer_a}", encoding="utf-8")
    with pytest.raises(ValidationError, match=r"does not name \{answer_b\}"):
        options(template=str(path))
    path.write_text("{prompt} {answer_a} {answer_b}", encoding="utf-8")
    chosen = options(template=str(path))
    assert chosen.template_sha256
    assert WinRateOptions.model_validate_json(chosen.model_dump_json()) == chosen
    with pytest.raises(ValidationError, match="criterion is for the harness's own request"):
        options(template=str(path), criterion="is nicer")
    path.write_text("{prompt} {answer_a} {answer_b} changed", encoding="utf-8")
    with pytest.raises(ValidationError, match="has sha256"):
        WinRateOptions.model_validate_json(chosen.model_dump_json())
    path.write_bytes(b"\xff")
    with pytest.raises(ValidationError, match="not UTF-8 text"):
        options(template=str(path))


def test_a_secret_shows_itself_to_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_KEY", f"  {CANARY}\n")
    key = read_key("SOME_KEY", "here")
    assert key.reveal() == CANARY
    assert {repr(key), str(key), f"{key}", f"{key!r:>3}", "%s" % key} == {"***"}  # noqa: UP031
    assert not hasattr(key, "__dict__")
    assert key.hide(f"Bearer {CANARY}!") == "Bearer ***!"
    assert Secret("").hide("text") == "text"
    for take in (pickle.dumps, copy.deepcopy, copy.copy):
        with pytest.raises(TypeError, match="neither copied nor stored"):
            take(key)

"""Names made from content."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.store.identity import canonical, digest, file_digest, rows_digest, tree_digest

if TYPE_CHECKING:
    from pathlib import Path

VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda part: st.lists(part, max_size=4) | st.dictionaries(st.text(), part, max_size=4),
    max_leaves=12,
)


def test_the_canonical_form_is_fixed_for_ever() -> None:
    value = {"b": [1, 1.0, True, None, "é\u2028"], "a": {"z": -0.5, "y": 1e-05}}
    assert canonical(value) == '{"a":{"y":1e-05,"z":-0.5},"b":[1,1.0,true,null,"é\u2028"]}'.encode()
    assert digest({}) == "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, 1.0), (1, True), (0, False), (0, None), ("1", 1), ("", None), (0.0, -0.0), ([], {}), ([[1], 2], [1, [2]]),
        ({"a": 1}, {"a": 1, "b": None}), ("true", True), ("é", "e\u0301"), (10**20, 1e20), (["a", "b"], ["b", "a"]),
    ],
)  # fmt: skip
def test_different_values_have_different_names(one: Any, other: Any) -> None:
    assert digest(one) != digest(other)


@given(VALUES)
def test_a_value_read_back_from_json_has_the_same_name(value: Any) -> None:
    assert digest(json.loads(json.dumps(value))) == digest(value)


@given(VALUES, VALUES)
def test_equal_encodings_mean_equal_values_and_types(one: Any, other: Any) -> None:
    assert (canonical(one) == canonical(other)) == (
        json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    )


@given(st.dictionaries(st.text(), st.integers(), min_size=2), st.randoms())
def test_the_order_of_keys_is_no_part_of_a_name(value: dict[str, int], random: Any) -> None:
    items = list(value.items())
    random.shuffle(items)
    assert digest(dict(items)) == digest(value)


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_has_no_name(number: float) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        digest({"a": [number]})


@pytest.mark.parametrize("value", [{1: "a"}, {None: 1}, {"a": [{True: 1}]}, {"a": ({2.5: 1},)}])
def test_a_key_that_is_no_text_is_refused(value: Any) -> None:
    with pytest.raises(TypeError, match="key of a JSON object"):
        digest(value)


@pytest.mark.parametrize("value", [{1, 2}, b"bytes", object(), {"a": 1j}])
def test_what_is_no_json_is_refused(value: Any) -> None:
    with pytest.raises(TypeError):
        digest(value)


def test_lone_surrogates_have_names_of_their_own() -> None:
    assert digest("\ud800") != digest("\udc00")
    assert digest("\ud800") != digest("\\ud800")


def test_names_do_not_depend_on_the_process() -> None:
    value = {name: [name] for name in ("alpha", "beta", "gamma", "delta")}
    script = f"from harness.store.identity import digest; print(digest({dict(reversed(value.items()))!r}))"
    other = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": "7"}
    )
    assert other.stdout.strip() == digest(value)


def test_files_and_trees(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"one")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "b").write_bytes(b"two")
    assert file_digest(tmp_path / "a") == "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed"
    whole = tree_digest(tmp_path)
    assert whole == tree_digest(tmp_path, ["sub/b", "a"])
    assert whole != tree_digest(tmp_path, ["a"])
    (tmp_path / "sub" / "b").rename(tmp_path / "sub" / "c")
    assert tree_digest(tmp_path) != whole


def test_rows_are_a_sequence() -> None:
    rows = [{"id": "1", "x": 1}, {"id": "2", "x": 2}]
    assert rows_digest(rows) == rows_digest(iter(rows))
    assert rows_digest(rows) != rows_digest(rows[::-1])
    assert rows_digest([]) != rows_digest([{}])
    assert rows_digest([{"a": 1}, {"b": 2}]) != rows_digest([{"a": 1, "b": 2}])

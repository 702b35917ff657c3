"""Each method trains as it did when its numbers were committed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, get_args

import pytest
from golden import twenty
from golden.twenty import Dtype, Parting

if TYPE_CHECKING:
    from collections.abc import Mapping

pytestmark = pytest.mark.usefixtures("torch_as_it_was")

REGISTRY, NAMES = twenty.methods()
#: Steps that are taken here; all twenty by ``tox -e seeded``.
STEPS = 2


@pytest.fixture(scope="module")
def committed() -> Mapping[str, Any]:
    return twenty.committed_for_this()


@pytest.mark.parametrize("name", NAMES)
def test_the_first_steps_of_a_method_are_what_they_were(name: str, committed: Mapping[str, Any]) -> None:
    for dtype in get_args(Dtype):
        assert name in committed[dtype], f"no values of {name}: python tests/golden/twenty.py --write --only {name}"
        found = twenty.course(REGISTRY, name, dtype, STEPS)
        # two processors of one family may round differently: bits are for `tox -e seeded` to ask for
        apart = twenty.wrong(name, dtype, found, committed, steps=STEPS, exact=False)
        assert not apart, f"{apart[0]}; where that is meant: python tests/golden/twenty.py --write"


def test_this_family_of_processors_has_values(committed: Mapping[str, Any]) -> None:
    if not twenty.is_known(committed):
        pytest.skip(twenty.how_to_add(committed))


@pytest.mark.parametrize("path", sorted(twenty.VALUES.glob("*.json")), ids=lambda path: path.stem)
def test_a_family_has_twenty_steps_of_each_of_its_methods(path: Any) -> None:
    values = json.loads(path.read_text(encoding="utf-8"))
    assert path == twenty.path_of(values["family"])
    assert path.read_text(encoding="utf-8") == twenty.text(values)
    for dtype in get_args(Dtype):
        assert tuple(values[dtype]) == tuple(NAMES)
        for name, course in values[dtype].items():
            assert {len(steps) for steps in course.values()} == {twenty.STEPS}, name
            assert "grad_norm" in course
            assert any(value.startswith("loss/") for value in course) or name in {"eggroll", "parameter-es"}


def course(**changes: Any) -> dict[str, list[float | None]]:
    usual: dict[str, list[float | None]] = {"loss/a": [1.0 + n for n in range(20)], "grad_norm": [0.5] * 20}
    return {**usual, **changes}


def test_where_two_courses_part_is_said() -> None:
    other = course(grad_norm=[0.5] * 7 + [0.5000001] + [9.0] * 12)
    (found,) = twenty.partings("m", "float32", course(), other)
    assert found == Parting("m", "float32", 7, "grad_norm", 0.5, 0.5000001)
    assert str(found) == "m (float32): step 7, grad_norm: 0.5 against 0.5000001"
    assert list(twenty.partings("m", "float32", course(), other, steps=7)) == []
    (later,) = twenty.partings("m", "float64", course(), other, tolerance=1e-6)
    assert later.step == 8
    (lacking,) = twenty.partings("m", "float64", course(), course(reward=[0.1] * 20), tolerance=1e-6)
    assert (lacking.value, lacking.first, lacking.second) == ("reward", None, 0.1)


def test_another_family_is_held_to_what_cannot_depend_on_it(monkeypatch: pytest.MonkeyPatch) -> None:
    there = {"family": "x", "torch": "1", "float64": {"m": course()}, "float32": {"m": course()}}
    drifted = course(grad_norm=[0.5 + 1e-9] * 20)
    parted = course(grad_norm=[0.5] + [0.7] * 19)
    assert twenty.wrong("m", "float64", drifted, there) == []
    assert twenty.wrong("m", "float64", parted, there) != []
    assert twenty.wrong("m", "float32", parted, there) == []  # another token may have been drawn
    assert "python tests/golden/twenty.py --write" in twenty.how_to_add(there)
    monkeypatch.setattr(twenty, "family", lambda: "x")
    monkeypatch.setattr(twenty, "release", lambda: "1")
    assert twenty.wrong("m", "float32", drifted, there) != []
    assert [each.value for each in twenty.wrong("n", "float64", drifted, there)] == ["the method has no values yet"]

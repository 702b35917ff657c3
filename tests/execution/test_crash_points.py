"""Some of the points at which a run may be interrupted; ``tox -e faults`` tries every one, of every method."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from faults.miniature import enumerated, miniature

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.long, pytest.mark.timeout(1800)]  # on a machine that does ten other things

#: About two points of a run.
EVERY = 300


def test_what_is_left_at_some_points_of_a_run_leads_to_the_same_results(tmp_path: Path) -> None:
    found = enumerated(tmp_path, miniature(), every=EVERY, first=40)
    assert not found["wrong"]  # also what changed the results past harness.disk
    assert found["points"] > 300
    assert found["faults"]["kill"] == found["tried"] > 1
    assert found["states"] > found["tried"]

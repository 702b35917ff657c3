"""More ways to train with divided weights against one process: all of them are for whom the suite has no time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from training import shard_main
from training.shard_main import LONG
from training.test_sharding import Pair, check_equal

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.timeout(1800)  # on a machine that does ten other things


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return Pair(tmp_path_factory.mktemp("shards"), *LONG)


@pytest.mark.parametrize("name", LONG)
def test_divided_weights_train_as_whole_ones(pair: Pair, tmp_path: Path, name: str) -> None:
    result = shard_main.run(name, tmp_path)
    check_equal(pair, name, result, shard_main.numbers(result))

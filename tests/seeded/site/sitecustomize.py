"""Seeds the fault of a test into the processes that the test starts."""

import os
import sys
from pathlib import Path

if os.environ.get("SEEDED_FAULT"):
    tests = str(Path(__file__).resolve().parents[2])
    sys.path.insert(0, tests)
    from seeded.fault import Seeder
    from seeded.registry import SEEDS

    sys.path.remove(tests)
    sys.meta_path.insert(0, Seeder(SEEDS[os.environ["SEEDED_FAULT"]].edits))

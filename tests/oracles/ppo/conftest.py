"""What must hold before TRL is imported."""

import os

os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"  # it warns of itself

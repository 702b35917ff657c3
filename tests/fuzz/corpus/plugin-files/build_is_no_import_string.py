"""A registration whose build names no object."""

from harness.api import RewardRegistration

reward = RewardRegistration(name="made", summary="s", build="nowhere")

from harness.api import RewardRegistration

reward = RewardRegistration(name="made", summary="", build=3)

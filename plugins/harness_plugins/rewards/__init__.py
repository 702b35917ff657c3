"""Reward functions with TRL's signature; each module is one entry point.

A reward that was written for TRL becomes a plugin as it is, whether it is sync or async and whether or not it returns
None for what it cannot judge. A module beside it hands over the registration, and the distribution names that module::

    # my_rewards/plugin.py
    from harness.api import RewardRegistration, hookimpl

    @hookimpl
    def harness_register_rewards():
        return [
            RewardRegistration(
                name="polite",
                summary="1 where a completion says please",
                build="my_rewards.polite:polite_reward",  # the function itself, imported when it is used
                function=True,
            )
        ]

    # pyproject.toml
    [project.entry-points.harness]
    reward-polite = "my_rewards.plugin"

With ``options=`` (a pydantic model) the options come as further keyword arguments; without ``function=True`` ``build``
is called with the options and returns the function, which suits TRL's factories such as
``get_repetition_penalty_reward``. The columns of the data set are passed by name, ``references`` among them.
"""

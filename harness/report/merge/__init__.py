"""Several runs in one leaderboard, as far as their rows were given the same."""

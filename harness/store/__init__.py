"""Records on disk: identity, layout, atomic commit, integrity."""

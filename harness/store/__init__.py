"""Stages on disk: identity, layout, atomic commit, integrity."""

"""The benchmark file: reading, overriding, validating."""

"""Benchmark harness for post-fine-tuning methods of language models. Importing it loads no heavy library."""

__version__ = "0.1.0"

#: The version of ``harness.api`` that plugins are written against.
API_VERSION = 1

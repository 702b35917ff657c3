"""The tiny language model and its rows, under the name by which plugin authors import them."""

from harness.execution.tiny import tiny_batch, tiny_examples, tiny_policy, tiny_tokeniser

__all__ = ["tiny_batch", "tiny_examples", "tiny_policy", "tiny_tokeniser"]

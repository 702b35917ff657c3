"""Metrics over generated answers; each module is one entry point, but for two.

``evaluate_module`` is what runs behind the metric ``evaluate``. ``as_evaluate`` is for users of Hugging Face's
``evaluate``: it puts any registered metric behind that library's interface.

A column holds one value an answer, which paired tests need; a number over all answers (corpus BLEU, perplexity) stands
in ``MetricResult.corpus``. An answer that cannot have a value, for want of a reference or of words, is missing.
"""

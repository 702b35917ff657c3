"""A language model at work: loading it, log-probabilities, sampling.

``model/`` a model with its tokenizer; ``score/`` log-probabilities of given answers; ``decode/`` new answers. There are
two ways through a model (:mod:`harness.lm.way`): the fast one, in which :mod:`harness.lm.attention` stands in for the
model's own attention, and the general one for all others.

From ``run.sample(…)`` to logits, on the fast way:

1. ``Services.sample`` and
2. ``Services._drawn`` (``training/services.py``): which draw of which step this is;
3. ``sample`` (``decode/sampling.py``): checks, and batches of prompts of like length;
4. ``decoder`` (``decode/choose.py``): prefills, with the decoder of the policy's way;
5. ``_decode`` (``decode/sampling.py``): draws a token for each row, lets rows leave, and steps again;
6. ``SharedPrefix.step`` (``decode/prefix.py``): a token for each row goes through
7. ``backbone.forward`` (``model/backbone.py``), the model without its head; each layer's attention is
8. ``SharedPrefix.attend``, over one copy of each prompt's keys and values, which meet queries in
9. ``product`` (``attention.py``). The head makes logits of what comes out.

From ``run.logprobs(…)`` to log-probabilities:

1. ``Services.logprobs`` (``training/services.py``);
2. ``score`` (``score/logprobs.py``): ``prepare`` lays prompts and completions out (``score/packing.py``);
3. ``ScoringModule.forward``, which data parallelism wraps, calls ``backbone.forward``;
4. ``Forest.attend`` (``score/trees.py``), called by each layer as above;
5. ``token_scores`` (``score/log_softmax.py``): from hidden states to log-probabilities, a chunk of logits at a time.
"""

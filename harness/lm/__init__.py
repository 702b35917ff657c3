"""A language model at work: loading it, log-probabilities, sampling.

``model/`` a model with its tokenizer; ``score/`` log-probabilities of given answers; ``decode/`` new answers. There are
two ways through a model (:mod:`harness.lm.way`): the fast one, in which :mod:`harness.lm.attention` stands in for the
model's own attention, and the general one for all others.

From ``run.sample(…)`` to a decoding step of the fast way, each function called by the one before:

1. ``Services.sample`` (``training/services.py``): which draw of which step this is;
2. ``sample`` (``decode/sampling.py``): checks, and the batch's place for what is drawn;
3. ``Batcher.parts`` (``in_parts.py``): as many prompts at a time as memory holds;
4. ``work``, in ``sample``: has the prompts of a part read (``decoder``, ``decode/choose.py``) and then
5. ``_decode``: draws a token for each row, lets rows leave, and steps again;
6. ``SharedPrefix.step`` (``decode/prefix.py``): feeds the tokens, and gives the logits behind them by
   ``backbone.logits``, of the hidden states that come from
7. ``backbone.forward`` (``model/backbone.py``), the model without its head. Its layers are transformers' own, and call
8. ``_attend`` (``attention.py``) for their attention;
9. ``SharedPrefix.attend``: over one copy of each prompt's keys and values, which meet queries in
10. ``product`` (``attention.py``).

From ``run.logprobs(…)`` in a loss to log-probabilities:

1. ``Services.logprobs`` (``training/services.py``);
2. ``InLoss.logprobs`` (``training/scoring.py``), in whose place ``InParts.logprobs`` stands outside a loss;
3. ``score`` (``score/logprobs.py``): ``prepare`` lays prompts and completions out (``score/packing.py``);
4. ``ScoringModule.forward``: reads log-probabilities off hidden states by ``token_scores``
   (``score/log_softmax.py``), a chunk of logits at a time; the states come from
5. ``backbone.forward``, which comes, as above, to
6. ``_attend``; then
7. ``Forest.attend`` (``score/trees.py``): completions see their prompt and not each other;
8. ``Forest._apart``: the prompt and each completion make a product of their own (on a GPU ``Forest._together``), by
9. ``Forest._behind``: behind what stands before them, in
10. ``product``.
"""

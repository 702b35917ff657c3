"""How much is done at a time, by device: numbers that change memory and speed, and no result but for rounding."""

from __future__ import annotations

from typing import Final

#: Tokens between two looks at which rows have ended. A look makes a GPU wait for all that it was given; on a CPU it
#: costs nothing, and each token of a batch that has ended would be wasted.
LOOK_EVERY = {"cpu": 1, "cuda": 8}
#: Logits of which a token is drawn at a time. One row after the other stays in a CPU's cache from the first operation
#: to the last: 16 rows of 49,152 take 4 ms instead of 12, which new memory for each outcome costs.
DRAWN_TOGETHER = {"cpu": 1 << 17, "cuda": 1 << 30}
#: Numbers of noise that are made at once, over all rows: many positions ahead, so that few steps pay for hashing.
NOISE_AHEAD = {"cpu": 1 << 15, "cuda": 1 << 22}
#: Tokens of one prefill: more do not help a processor, and their activations no longer fit its caches.
PREFILL = {"cpu": 1 << 13, "cuda": 1 << 17}
#: Numbers of a softmax that are kept for the backward pass; beyond this they are made again there.
KEPT = {"cpu": 1 << 26, "cuda": 1 << 28}
#: Devices on which a step over static caches is captured.
CAPTURED = frozenset({"cuda"})
#: Devices on which each piece of a tree makes a product of its own.
PIECEWISE = frozenset({"cpu"})
#: Numbers of a mask over trees side by side from which on FlexAttention replaces it: below, its compilation costs more
#: than a mask of some megabytes.
FLEX_FROM: Final = 1 << 25
#: Tokens of one forward and backward on a CPU. Fewer pay more for calls; more waste on padding and fall out of the
#: caches: a step of 16 groups of Dolly prompts on a 7 M GPT-2 took 2.7 s of CPU time at 512 and 1024, 3.0 s at 2048,
#: 3.6 s at 4096 and 5 to 8 s at 16384.
CPU_TOKENS: Final = 1024
#: Tokens of one forward where a stage must give the same bits whenever it is made: not found from the memory that is
#: free, since a sum's last bit depends on the batch.
FIXED_TOKENS: Final = {"cpu": CPU_TOKENS, "cuda": 16384}
#: The same for a reward model, which keeps no logits.
REWARD_TOKENS = {"cpu": 4096, "cuda": 65536}
#: Bounds of a forward and backward on a GPU, whatever its memory says.
GPU_TOKENS: Final = (2048, 65536)

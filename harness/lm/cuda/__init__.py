"""All that a model does otherwise on CUDA, in one place; the rooms above and beside it ask here.

========================= ============================================ ==============================
what                      its general way, and what compares them      its switch
========================= ============================================ ==============================
``static``, ``graphs``    ``decode/prefix.py``; ``choice.why_not``     ``HARNESS_GRAPHS=off``
``flex``                  ``Forest._together``; ``flex.why_not``       ``HARNESS_FLEX=off``
``binding``               casts of autocast; ``binding.why_not``       ``HARNESS_PACKED_LINEAR=off``
``fused``                 a loop over parameters; ``fused.why_not``    ``HARNESS_FUSED=off``
``memory``                no limit, and halves where memory runs out   ``HARNESS_DEVICE_LIMITS=off``
``sizes``                 numbers alone: they change no result         none
========================= ============================================ ==============================

What a processor can run (buckets, static caches, masks, the choice of rows) is apart from what only CUDA can: capture,
in ``graphs``, and the compiled product, in ``flex``. ``HARNESS_STATIC_CACHE=on`` decodes over static caches on any
device. ``vllm`` draws with another engine; it stands here since that engine wants a GPU.
"""

"""What ruins a comparison without failing: seeds that repeat nothing, rows that are one, rewards that are gamed.

Everything here is seen from the records of stages; no model is loaded. ``docs/what-is-checked.md`` says what is looked
for, and what cannot be seen.
"""

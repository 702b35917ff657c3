"""Two rows, of one run or of two, compared prompt by prompt."""

"""What the methods that ship have in common: options, the supervised term, candidates and their log-probs."""

"""What rewards and metrics share about words: tokenising, n-grams, ROUGE, GLEU, reading the references."""

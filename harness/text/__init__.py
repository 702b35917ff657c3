"""From texts to token ids and back: templates, tokenizers, encoded rows."""

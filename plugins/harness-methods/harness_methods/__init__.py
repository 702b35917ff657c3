"""Today's post-fine-tuning methods as plugins of posttune-harness, one file each."""

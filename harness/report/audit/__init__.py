"""Every figure of a run derived again from its records: what differs, what is missing, what belongs to another run."""

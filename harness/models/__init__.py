"""Models as folders: what must be in one, its digest, and how it comes from the hub. No torch."""

"""Statistics, tables and their renderers; reads the store, never torch."""

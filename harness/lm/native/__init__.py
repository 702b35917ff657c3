"""Kernels of our own for a processor, where a C compiler is at hand; torch's own do the same work, slower."""

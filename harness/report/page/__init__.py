"""Results as pages: one a benchmark, one over all results, and every prompt's answers side by side.

Pages are static files that open from disk. They are read without a script; the script that makes them better is a part
of each page, named by its SHA-256 in the page's Content-Security-Policy, and asks no host for anything.
"""

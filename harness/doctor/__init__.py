"""What of a machine and an installation keeps the harness from running, or slows it down: one file a subject.

Each check yields findings and changes nothing but a probe file, which it removes. What it reads of the system comes in
as arguments with the real places as defaults.
"""

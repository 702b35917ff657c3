"""What the tables hide: pictures of a run, drawn from its store alone, each with its numbers.

A module of this room makes a picture (or a few that belong together) of the numbers that the tables have too, as a
:class:`harness.report.pictures.figure.Figure`. :mod:`harness.report.pictures.layout` puts it on paper as a few shapes
and texts, which :mod:`harness.report.pictures.svg` writes without any library, in milliseconds, and
:mod:`harness.report.pictures.paper` with matplotlib as PDF or PNG. :mod:`harness.report.pictures.every` has them all.
"""

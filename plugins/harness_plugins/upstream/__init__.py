"""Reading what others published: files of the user's, plain or gzip, and downloads that are checked.

Whatever the way, a prepared folder holds the same plain files, so that the way changes no result.
"""

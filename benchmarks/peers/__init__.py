"""Other packages at the same work, each as its own documentation would have it, each in a process of its own.

The function ``works`` of each module takes an exit stack, the SQLAlchemy URL of an empty database and whether a commit
waits for the disk, and returns a batch for each piece of work that the package can do.
"""

"""One module for each revision, the oldest ``0001``."""

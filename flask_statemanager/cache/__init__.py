"""The read cache: shared by all processes, or off."""

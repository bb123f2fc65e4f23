"""What follows from a change: callbacks."""

"""Live events: the log of changes read once in each process, and told to every client that may hear of them."""

"""Where records live: memory, and SQL databases."""

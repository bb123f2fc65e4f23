"""The admin pages: what an operator opens."""

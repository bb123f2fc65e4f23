"""What the Makefile runs: it puts on the machine what the tests need, and makes pictures of pages."""

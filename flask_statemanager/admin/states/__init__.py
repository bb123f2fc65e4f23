"""The pages of states: find them, look at one, see what became of it, move it, mend it."""

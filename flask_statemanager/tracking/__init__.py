"""Tracking: which requests there are and were, and which users have sent them."""

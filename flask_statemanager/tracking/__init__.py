"""Tracking: which requests there are and were, which users have sent them, and to whom changes are told."""

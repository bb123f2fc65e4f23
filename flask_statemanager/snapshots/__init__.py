"""Snapshots: whole buckets in a file, and back."""

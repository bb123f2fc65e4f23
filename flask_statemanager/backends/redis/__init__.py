"""The Redis backend: one script for each write, a log to follow, and keys that a Redis Cluster can spread."""

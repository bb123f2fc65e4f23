"""Counters, health and log records."""

"""Loops around one low-level operation each."""

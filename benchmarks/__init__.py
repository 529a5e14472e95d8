"""Benchmarks of pyepoll: see README.md in this folder."""

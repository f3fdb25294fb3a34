"""Measures how fast it is, side by side with others: `make bench` writes docs/performance.md."""

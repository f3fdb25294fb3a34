"""Bytes at random, and guided by what they reach, at all that reads the wire."""

"""The doctor: finds out what is wrong here, and says what to do.

Its findings and the errors of a start have the same words, for they come from the same places:
hints.py for an engine that can't be reached, and here for what an engine says of itself.
"""

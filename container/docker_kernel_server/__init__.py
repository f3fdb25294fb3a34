"""The server in the container: sessions of Python and shell commands over TCP.

Standard library only, Python 3.8 and later. The host imports four modules of it, which do no I/O:
messages, framing, protocol and errors.
"""

__version__ = "0.1.0"

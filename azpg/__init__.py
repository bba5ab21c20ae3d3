"""What every azpg package shares: the command line's root, errors, and what a server offers."""

__version__ = "0.1.0"

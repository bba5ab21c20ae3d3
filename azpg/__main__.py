"""``python -m azpg``."""

from azpg.cli import main

main()

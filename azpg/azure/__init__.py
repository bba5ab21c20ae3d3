"""Facts about Azure, each of them once and with its source, for every azpg package."""

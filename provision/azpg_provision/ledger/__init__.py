"""Schema `azpg` in a target database: what azpg made, what it has embedded, and what waits."""

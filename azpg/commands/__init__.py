"""Commands about azpg itself."""

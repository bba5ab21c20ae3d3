"""What a server has now, read from its catalogues."""

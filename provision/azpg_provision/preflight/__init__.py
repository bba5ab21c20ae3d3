"""Whether a server can do what a spec asks, before anything is touched."""

"""The difference between what a spec asks and what a server has, as a list of changes."""

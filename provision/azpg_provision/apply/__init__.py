"""The changes of a plan, done one by one, in order."""

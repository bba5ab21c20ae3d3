"""Rows without an up-to-date embedding get one."""

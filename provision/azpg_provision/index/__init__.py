"""Approximate indexes over vectorized columns: built, looked through, judged."""

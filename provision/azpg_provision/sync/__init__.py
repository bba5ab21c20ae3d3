"""How a vectorized column keeps up with its rows."""

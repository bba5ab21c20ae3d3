"""Where a spec is applied, and how to get there."""

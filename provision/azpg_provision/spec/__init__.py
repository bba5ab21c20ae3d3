"""What a person wants: azpg.yaml, read, checked, and explained where it is wrong."""

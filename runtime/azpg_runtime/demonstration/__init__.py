"""`azpg demo`: semantic search over the Python language reference, step by step as on Azure."""

"""The commands of `azpg` that provision."""

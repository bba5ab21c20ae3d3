"""The local Flexible Server: PostgreSQL with the roles, parameters and extensions that Azure's has.

`Instance` (in `azpg_runtime.postgres.instance`) is the public face: up, down, status, dsn, parameters.
"""

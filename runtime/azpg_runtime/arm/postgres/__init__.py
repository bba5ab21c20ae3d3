"""Microsoft.DBforPostgreSQL: flexible servers, each of which is a local server of the same name."""

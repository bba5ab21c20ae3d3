"""Logins with Microsoft Entra ID: principals of a tenant are roles of an instance, tokens their passwords.

`access` says who may log in how, in a file that the TLS front reads at each login; `administration` changes
it and makes the roles. The front checks the token and then enters by PostgreSQL's own socket, where peer
authentication takes the front's operating-system user for exactly these roles: there is no password that
anybody could find out.
"""

from azpg_runtime.postgres.entra.access import Access, Principal, PrincipalType
from azpg_runtime.postgres.entra.administration import Entra

__all__ = ["Access", "Entra", "Principal", "PrincipalType"]

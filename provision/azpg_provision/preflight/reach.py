"""Whether the server can be reached: name, port, certificate, login, rights, each said apart."""

from __future__ import annotations

import socket
import ssl
import struct

from azpg_provision.preflight.check import Check, Looks, failed, passed, unknown
from azpg_provision.preflight.needs import Needs
from azpg_provision.preflight.site import NotKnown, Site
from azpg_provision.target.endpoint import Endpoint

_PATIENCE = 10.0
_SSL_REQUEST = struct.pack("!II", 8, 80877103)
_FIREWALL = (
    "Allow this machine's address (azpg:firewallRules, or `az postgres flexible-server firewall-rule "
    "create`), or run azpg inside the server's network."
)


def looks(site: Site, needs: Needs) -> Looks:
    """The checks, in the order in which a connection is made."""
    yield "dns", lambda: _dns(site)
    yield "tcp", lambda: _tcp(site)
    yield "tls", lambda: _tls(site)
    yield "login", lambda: _login(site)
    yield "rights", lambda: _rights(site)


def _endpoint(site: Site) -> Endpoint | None:
    """Where an Azure server listens; None where only a login tells. Raises `NotKnown`."""
    if site.azure is None:
        return None
    if site.unreadable is not None:
        raise NotKnown("The server's address is not known (see `server`).")
    return site.azure.endpoint


def _of_login(site: Site, id_: str) -> Check:
    """What a login that worked tells of its way."""
    info = site.session().info
    if info.host.startswith("/"):
        return passed(id_, f"Not needed: the server is reached by its socket in {info.host}.")
    if id_ == "dns":
        return passed(id_, f"{info.host} is found.")
    if id_ == "tcp":
        return passed(id_, f"{info.host}:{info.port} answers.")
    if site.session().pgconn.ssl_in_use:
        mode = info.get_parameters().get("sslmode", "prefer")
        return passed(id_, f"The connection is encrypted, sslmode={mode}.")
    if info.host in {"localhost", "::1"} or info.host.startswith("127."):
        return passed(id_, "Not needed: the connection does not leave this machine.")
    return failed(
        id_,
        f"The connection to {info.host} is not encrypted.",
        "Add sslmode=verify-full to the connection string.",
    )


def _dns(site: Site) -> Check:
    endpoint = _endpoint(site)
    if endpoint is None:
        return _of_login(site, "dns")
    try:
        found = socket.getaddrinfo(endpoint.host, endpoint.port, type=socket.SOCK_STREAM)
    except OSError as error:
        return failed(
            "dns",
            f"The name {endpoint.host} is not found: {error.strerror}.",
            "Check DNS; the name of a server without public access is known in its own network only.",
        )
    addresses = sorted({str(one[4][0]) for one in found})
    return passed("dns", f"{endpoint.host} is {', '.join(addresses)}.")


def _tcp(site: Site) -> Check:
    endpoint = _endpoint(site)
    if endpoint is None:
        return _of_login(site, "tcp")
    where = f"{endpoint.host}:{endpoint.port}"
    try:
        with socket.create_connection((endpoint.host, endpoint.port), timeout=_PATIENCE):
            return passed("tcp", f"{where} answers.")
    except TimeoutError:
        return failed(
            "tcp", f"{where} has not answered within {_PATIENCE:g} seconds, as behind a firewall.", _FIREWALL
        )
    except ConnectionRefusedError:
        return failed("tcp", f"{where} refuses: nothing listens there.", "Start the server; see `server`.")
    except OSError as error:
        return failed("tcp", f"{where} cannot be reached: {error.strerror}.", _FIREWALL)


def _tls(site: Site) -> Check:
    endpoint = _endpoint(site)
    if endpoint is None:
        return _of_login(site, "tls")
    context = ssl.create_default_context(cafile=endpoint.ca)
    try:
        with socket.create_connection((endpoint.host, endpoint.port), timeout=_PATIENCE) as plain:
            plain.sendall(_SSL_REQUEST)
            if plain.recv(1) != b"S":
                return failed("tls", "The server speaks no TLS.", "Set require_secure_transport to on.")
            with context.wrap_socket(plain, server_hostname=endpoint.host) as secured:
                return passed("tls", f"The certificate is for {endpoint.host}, {secured.version()}.")
    except ssl.SSLCertVerificationError as error:
        return failed(
            "tls",
            f"The certificate is not to be trusted: {error.verify_message.rstrip('.')}.",
            "Name the right authority's file in PGSSLROOTCERT. If it is that, somebody may be in between.",
        )
    except OSError as error:
        return unknown(
            "tls", f"There was no TLS handshake: {error.strerror or type(error).__name__}.", "See `tcp`."
        )


def _login(site: Site) -> Check:
    if site.unreadable is not None:
        raise NotKnown("There is nothing to log in to (see `server`).")
    refusal = site.refusal()
    if refusal is not None:
        return failed("login", refusal, "`azpg help targets` says how azpg logs in.")
    info = site.session().info
    how = (
        "an Entra token"
        if site.azure is not None and site.azure.uses_tokens
        else "a password or a local rule"
    )
    return passed("login", f"{info.user} logs in with {how}.")


def _rights(site: Site) -> Check:
    user, is_azure, is_admin, is_super = site.row(
        """
        SELECT session_user,
               EXISTS (SELECT FROM pg_catalog.pg_roles
                       WHERE rolname OPERATOR(pg_catalog.=) 'azure_pg_admin'),
               EXISTS (SELECT FROM pg_catalog.pg_roles
                       WHERE rolname OPERATOR(pg_catalog.=) 'azure_pg_admin'
                             AND pg_catalog.pg_has_role(oid, 'MEMBER')),
               (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname OPERATOR(pg_catalog.=) session_user)
        """
    )
    if is_super or is_admin:
        role = "a member of azure_pg_admin" if is_azure else "a superuser"
        return passed("rights", f"{user} is {role}.")
    if is_azure:
        return failed(
            "rights",
            f"{user} is no member of azure_pg_admin, so that CREATE EXTENSION is refused.",
            f"Log in as the server's administrator, or have it granted: GRANT azure_pg_admin TO {user}.",
        )
    return unknown(
        "rights",
        f"{user} is no superuser: which extensions it may create, each of them decides.",
        "Log in as a superuser if `azpg apply` is refused.",
    )

"""The one rule by which a server's address is read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from azpg.errors import UsageError
from azpg.hostport import join, parse


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("127.0.0.1:20123", "127.0.0.1", 20123),
        ("mine.postgres.database.azure.com", "mine.postgres.database.azure.com", 5432),
        ("localhost:1", "localhost", 1),
        ("::1", "::1", 5432),
        ("[::1]", "::1", 5432),
        ("[::1]:65535", "::1", 65535),
    ],
)
def test_hosts_with_and_without_a_port(text: str, host: str, port: int) -> None:
    assert parse(text) == (host, port)


def test_the_default_is_the_callers() -> None:
    assert parse("host", default=1234) == ("host", 1234)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "no host name"),
        (":5432", "no host name"),
        ("a b", "no host name"),
        ("postgres://host", "port is no number"),
        ("user@host", "no host name"),
        ("host:", "port is no number"),
        ("host:0", "port is no number"),
        ("host:65536", "port is no number"),
        ("host:-1", "port is no number"),
        ("host:٣", "port is no number"),
        ("[::1", "bracket"),
        ("[::1]5432", "bracket"),
        ("[host]:1", "bracket"),
        ("[::1]:", "port is no number"),
    ],
)
def test_what_is_no_address(text: str, why: str) -> None:
    with pytest.raises(UsageError, match=why) as caught:
        parse(text)
    assert "Use host or host:port." in str(caught.value)


_hosts = st.one_of(
    st.from_regex(r"[a-z0-9]([a-z0-9.-]{0,40}[a-z0-9])?", fullmatch=True), st.ip_addresses().map(str)
)


@given(_hosts, st.integers(1, 65535))
def test_what_is_joined_is_parsed(host: str, port: int) -> None:
    assert parse(join(host, port)) == (host, port)
    assert parse(host) == (host, 5432)


@given(st.text(max_size=30))
def test_any_text_is_an_address_or_refused(text: str) -> None:
    try:
        host, port = parse(text)
    except UsageError:
        return
    assert host
    assert 1 <= port <= 65535

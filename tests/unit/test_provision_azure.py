"""What targets on Azure decide without asking anybody."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jwt
import psycopg
import pytest
from azure.core.credentials import AccessToken
from azure.core.exceptions import (
    AzureError,
    ClientAuthenticationError,
    HttpResponseError,
    ServiceRequestError,
)
from hypothesis import given
from hypothesis import strategies as st

from azpg.errors import NotAvailable, UsageError
from azpg_provision.errors import TargetUnreachable
from azpg_provision.target import connecting, failures, refusals, stack
from azpg_provision.target.cloud import Cloud
from azpg_provision.target.identity import TwinIdentity
from azpg_provision.target.opening import open_target
from azpg_provision.target.resource import ServerId
from azpg_provision.target.roots import roots
from azpg_provision.target.stack import StackName
from azpg_provision.target.tokens import Owner, Tokens, owner
from azpg_provision.target.where import Where

ID = "0f0e0d0c-0b0a-0908-0706-050403020100"


# Tokens


class Issuing:
    """Numbered tokens with a lifetime, at a time that the test says."""

    def __init__(self, lifetime: int) -> None:
        self.now = 1_000_000.0
        self.lifetime = lifetime
        self.count = 0

    def get_token(self, *scopes: str, **_: Any) -> AccessToken:
        assert scopes == ("https://ossrdbms-aad.database.windows.net/.default",)
        self.count += 1
        return AccessToken(str(self.count), int(self.now) + self.lifetime)


@pytest.mark.parametrize(
    ("lifetime", "used_for"), [(86400, 86100), (3600, 3300), (600, 300), (60, 30), (2, 1)]
)
def test_a_token_is_renewed_before_it_expires(lifetime: int, used_for: float) -> None:
    issuing = Issuing(lifetime)
    tokens = Tokens(issuing, clock=lambda: issuing.now)
    assert tokens.password() == "1"
    issuing.now += used_for - 0.5
    assert tokens.password() == "1"
    issuing.now += 0.5
    assert tokens.password() == "2"
    tokens.forget()
    assert tokens.password() == "3"


def test_whose_token_it_is() -> None:
    def token(**claims: Any) -> str:
        return jwt.encode(claims, "k" * 32, algorithm="HS256")

    assert owner(token(oid="ABC", groups=["G", 1])) == Owner("abc", frozenset({"g"}))
    assert owner(token(oid="abc", groups="no")) == Owner("abc", frozenset())
    assert owner(token(sub="abc")) is None
    assert owner("opaque") is None


@given(st.one_of(st.text(), st.from_regex(r"[A-Za-z0-9_-]*\.[A-Za-z0-9_-]*\.[A-Za-z0-9_-]*", fullmatch=True)))
def test_any_text_is_a_token_or_none(text: str) -> None:
    found = owner(text)
    assert found is None or found.object_id


# Names


@given(
    st.from_regex(r"[A-Za-z0-9_().-]{1,40}", fullmatch=True),
    st.from_regex(r"[a-z0-9][a-z0-9-]{1,30}[a-z0-9]", fullmatch=True),
    st.booleans(),
)
def test_an_id_reads_back(group: str, name: str, upper: bool) -> None:
    wanted = ServerId(ID, group.upper() if upper else group, name)
    text = str(wanted)
    assert ServerId.parse(text.upper() if upper else text) == wanted


@given(st.text())
def test_any_text_is_an_id_or_refused(text: str) -> None:
    with suppress(UsageError):  # and nothing else
        assert ServerId.parse(text).name


@pytest.mark.parametrize(
    ("text", "name", "offline", "command"),
    [
        ("offline", "offline", True, "azpg pulumi up"),
        ("offline:offline", "offline", True, "azpg pulumi up"),
        ("offline:dev", "dev", True, "azpg pulumi up --stack dev"),
        ("prod", "prod", False, "pulumi up --stack prod"),
        ("acme/azpg/offline", "acme/azpg/offline", False, "pulumi up --stack acme/azpg/offline"),
    ],
)
def test_which_stack_is_meant(text: str, name: str, offline: bool, command: str) -> None:
    found = StackName.of(text)
    assert (found.name, found.offline, found.command) == (name, offline, command)


@pytest.mark.parametrize(
    "text", ["", "-x", "--show-secrets", "a b", "a/b/c/d", "offline:", "offline:-x", "x:y", "a;b", "$(x)"]
)
def test_what_is_no_stack(text: str) -> None:
    with pytest.raises(UsageError, match=r"is no stack's name: use STACK or ORGANISATION/PROJECT/STACK"):
        StackName.of(text)


def test_a_stacks_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match=r"the folder .*gone is not there: name the Pulumi project's with --cwd"
    ):
        StackName.of("prod", tmp_path / "gone")


# What a stack says


def program(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> StackName:
    """A pulumi that does as the script says."""
    pulumi = folder / "pulumi"
    pulumi.write_text(f"#!/bin/sh\n{script}\n")
    pulumi.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=":")
    return StackName.of("prod", folder)


def test_outputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outputs = {
        "server_id": "/x",
        "admin_user": "boss",
        "admin_password": None,
        "ai_endpoint": None,
        "ai_deployments": [],
    }
    name = program(tmp_path, monkeypatch, f"echo '{json.dumps(outputs)}'")
    assert stack.read(name) == stack.Outputs("/x", "boss", None, None, ())


def test_the_arguments_hold_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = program(tmp_path, monkeypatch, 'echo "$@" >&2; exit 1')
    with pytest.raises(TargetUnreachable) as refused:
        stack.read(name)
    arguments = f"stack output --json --show-secrets --non-interactive --cwd {name.folder} --stack prod."
    assert arguments in str(refused.value)


def test_a_pulumi_that_does_not_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stack, "_PATIENCE", 0.05)
    name = program(tmp_path, monkeypatch, "exec tail -f /dev/null")
    with pytest.raises(
        TargetUnreachable, match=r"^`pulumi stack output` has not ended after 0\.05 seconds\.$"
    ):
        stack.read(name)


@pytest.mark.parametrize(
    ("script", "said"),
    [
        (
            "exit 3",
            r"`pulumi stack output` failed: it said nothing. `pulumi up --stack prod` makes the stack",
        ),
        ("echo 'error: no stack named prod' >&2; exit 1", r"failed: no stack named prod\. `pulumi up"),
        ("echo Secret-7", r"printed something that is no JSON object\.$"),
        ("echo '[]'", r"printed something that is no JSON object\.$"),
        (
            'echo \'{"admin_password": "Secret-7"}\'',
            r"has no output server_id and admin_user: `pulumi up --stack prod`",
        ),
        ('echo \'{"server_id": 7, "admin_user": "Secret-7"}\'', r"has no output server_id: "),
    ],
)
def test_what_is_no_stack_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, said: str
) -> None:
    name = program(tmp_path, monkeypatch, script)
    with pytest.raises(TargetUnreachable, match=said) as refused:
        stack.read(name)
    assert "Secret-7" not in str(refused.value)


# The command line before the spec


SPEC = Where(server="/a", user="app", folder=Path("/spec"))


@pytest.mark.parametrize(
    ("flags", "wanted"),
    [
        (Where(), SPEC),
        (Where(user="boss"), Where(server="/a", user="boss", folder=Path("/spec"))),
        (Where(server="/b"), Where(server="/b", user="app", folder=Path("/spec"))),
        (Where(local="x"), Where(local="x")),
    ],
)
def test_options_go_before_the_spec(flags: Where, wanted: Where) -> None:
    assert flags.over(SPEC) == wanted


def test_a_path_on_the_command_line_begins_where_one_is() -> None:
    assert Where(dsn="file:x").over(Where(dsn="file:y", folder=Path("/spec"))).folder is None


@pytest.mark.parametrize(
    ("where", "said"),
    [
        (Where(user="x"), "--user names a role on a server on Azure"),
        (Where(dsn="env:X", user="x"), "--user names a role on a server on Azure"),
        (Where(local="x", cwd=Path()), "--cwd is the folder of a Pulumi stack: name that with --stack"),
    ],
)
def test_an_option_that_would_do_nothing_is_refused(where: Where, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        open_target(where)


def test_one_place_only() -> None:
    with pytest.raises(UsageError, match="--local and --stack name a target each: choose one of them"):
        assert Where(local="a", stack="b").place


@pytest.mark.parametrize("where", [Where(server=f"/subscriptions/{ID}"), Where(stack="prod")])
def test_without_the_extra(where: Where, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("azpg.extras.find_spec", lambda name: None if name.startswith("azure") else name)
    with pytest.raises(
        NotAvailable, match=r"a target on Azure needs what the extra \[azure\] brings: pip install"
    ):
        open_target(where)


# Certificates


def test_which_certificates_are_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {}
    for name in ("given", "PGSSLROOTCERT", "SSL_CERT_FILE"):
        files[name] = tmp_path / name
        files[name].touch()
    for name in ("PGSSLROOTCERT", "SSL_CERT_FILE"):
        monkeypatch.setenv(name, str(files[name]))
    assert roots(str(files["given"])) == str(files["given"])
    assert roots() == str(files["PGSSLROOTCERT"])
    monkeypatch.setenv("PGSSLROOTCERT", "system")
    assert roots() == str(files["SSL_CERT_FILE"])
    monkeypatch.setenv("SSL_CERT_FILE", "/nonexistent")
    with pytest.raises(UsageError, match="the file of trusted certificates /nonexistent is not there"):
        roots()


def test_no_certificates_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.setattr("ssl.get_default_verify_paths", lambda: SimpleNamespace(cafile=None))
    monkeypatch.setattr("azpg_provision.target.roots._USUAL", ())
    with pytest.raises(TargetUnreachable, match=r"no trusted certificates.*ca-certificates.*PGSSLROOTCERT"):
        roots()


# In words


def answered(status: int, code: str = "", message: str = "It is so.") -> HttpResponseError:
    error = HttpResponseError(message)
    error.status_code = status
    error.error = SimpleNamespace(code=code, message=message)
    return error


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            ClientAuthenticationError("None of it"),
            "no identity to ask Azure with was found. Log in with `az login`",
        ),
        (ClientAuthenticationError("the ARM twin gives no token: x."), "the ARM twin gives no token: x."),
        (ServiceRequestError("CERTIFICATE_VERIFY_FAILED"), "REQUESTS_CA_BUNDLE"),
        (
            ServiceRequestError("Failed to resolve: Name or service not known"),
            "name is not found. Check the network",
        ),
        (ServiceRequestError("Connection refused"), "does not answer. Check the network and HTTPS_PROXY"),
        (
            answered(401),
            "Azure does not take the identity that asks: It is so. Log in again with `az login`.",
        ),
        (answered(403), "may not do this: It is so. It needs the role Contributor on the server."),
        (answered(404), "It is so. Check the id, and the subscription that you are logged in to."),
        (
            answered(404, message="No x. For more details go to https://aka.ms/x"),
            "No x. Check the id, and the subscription that you are logged in to.",
        ),
        (answered(429), "Azure goes on asking for patience: It is so. Try again in some minutes."),
        (answered(409, "ServerIsBusy"), "Azure refused: (ServerIsBusy) It is so."),
        (answered(500), "Azure refused: It is so."),
        (AzureError("something else"), "something else"),
    ],
)
def test_what_azure_says(error: AzureError, said: str) -> None:
    assert said in refusals.in_words(error)


def test_what_azure_says_is_short_and_without_tokens() -> None:
    token = jwt.encode({"oid": "x"}, "k" * 32, algorithm="HS256")
    said = refusals.in_words(answered(400, message=f"bad\n token {token} " + "x" * 5000))
    assert token not in said
    assert len(said) < 500
    assert "\n" not in said


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ('FATAL:  no pg_hba.conf entry for host "1.2.3.4"', "azpg:firewallRules"),
        ("connection timeout expired", "Nothing answers: allow this machine's address"),
        ("could not translate host name", "check DNS"),
        ("[Errno -2] failed to resolve host 'x'", "check DNS"),
        ("FATAL:  remaining connection slots are reserved", "raise max_connections"),
        ("FATAL:  sorry, too many clients already", "raise max_connections"),
        ('server certificate for "x" does not match host name "y"', "use the server's own name"),
        ('FATAL:  password authentication failed for user "a"', "Check the password of 'a'."),
        ("FATAL:  something new", "something new."),
    ],
)
def test_why_there_is_no_connection(message: str, said: str) -> None:
    found = failures.in_words(
        psycopg.OperationalError(f"connection failed: {message}"), user="a", token=False
    )
    assert said in found
    assert "FATAL" not in found


def test_a_full_server_is_said_of_every_target() -> None:
    error = psycopg.OperationalError("FATAL:  sorry, too many clients already")
    assert str(connecting.unreachable("local shop", "app", error, "Look at it.")) == (
        "local shop, database 'app': FATAL: sorry, too many clients already. "
        "Too many connections are open: close some, or raise max_connections."
    )


def test_the_twins_identity_is_no_secret_to_see(tmp_path: Path) -> None:
    identity = TwinIdentity("https://127.0.0.1:9/msi/token", "Hidden-5", str(tmp_path / "none.pem"))
    cloud = Cloud(identity, "https://127.0.0.1:9", "x")
    assert "Hidden-5" not in f"{cloud!r} {identity!r}"
    with pytest.raises(ClientAuthenticationError, match="the ARM twin gives no token") as refused:
        identity.get_token("https://management.azure.com/.default")
    assert "Hidden-5" not in str(refused.value)

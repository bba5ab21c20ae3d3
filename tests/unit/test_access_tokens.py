"""Tokens: what is issued is believed, and nothing else is, whatever it looks like."""

from __future__ import annotations

import base64
import json
import stat
import threading
import time
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import example, given
from hypothesis import strategies as st

from azpg_runtime.access_tokens import DATABASE, LONGEST, Trust
from azpg_runtime.arm.identity.identities import Identities
from azpg_runtime.arm.identity.tokens import MANAGEMENT, Issuer
from azpg_runtime.errors import (
    IdentityError,
    TokenExpired,
    TokenForAnother,
    TokenForged,
    TokenMalformed,
    TokenNotYetValid,
    TokenRefused,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("identity")


@pytest.fixture(scope="module")
def identities(folder: Path) -> Identities:
    return Identities(folder)


@pytest.fixture(scope="module")
def issuer(folder: Path, identities: Identities) -> Issuer:
    return Issuer(folder, identities)


@pytest.fixture(scope="module")
def good(issuer: Issuer, identities: Identities) -> str:
    return issuer.issue(identities.default, DATABASE, 3600)


@pytest.mark.parametrize("audience", [DATABASE, f"{DATABASE}/"])
def test_what_is_issued_is_believed(issuer: Issuer, identities: Identities, audience: str) -> None:
    token = issuer.issue(identities.default, audience, 3600, groups=["g1", "g2"])
    claims = issuer.verify(token, DATABASE)
    assert claims.object_id == identities.default.object_id
    assert claims.audience == audience
    assert claims.groups == {"g1", "g2"}
    assert claims.expires_on - claims.all["iat"] == 3600


def test_any_name_of_the_service(issuer: Issuer, identities: Identities) -> None:
    for audience in MANAGEMENT:
        issuer.verify(issuer.issue(identities.default, audience, 60), MANAGEMENT)


def test_expired(issuer: Issuer, identities: Identities) -> None:
    with pytest.raises(
        TokenExpired, match=r"^The access token has expired\. Acquire a new token and retry\.$"
    ):
        issuer.verify(issuer.issue(identities.default, DATABASE, -1), DATABASE)


def test_for_another_service(issuer: Issuer, identities: Identities) -> None:
    token = issuer.issue(identities.default, MANAGEMENT[0], 3600)
    with pytest.raises(TokenForAnother) as refused:
        issuer.verify(token, DATABASE)
    assert str(refused.value) == (
        "The access token does not have a valid audience claim. "
        f'Acquire a new token for the resource "{DATABASE}".'
    )


def test_of_another_directory(tmp_path: Path, issuer: Issuer) -> None:
    other = Identities(tmp_path)
    token = Issuer(tmp_path, other).issue(other.default, DATABASE, 3600)
    with pytest.raises(TokenForged, match="not signed by the tenant that this server trusts") as refused:
        issuer.verify(token, DATABASE)
    assert issuer.name in str(refused.value)


def signed(issuer: Issuer, changes: dict[str, Any]) -> str:
    """A token that the true key signed, with other claims; None leaves one out."""
    now = int(time.time())
    claims = {"aud": DATABASE, "iss": issuer.name, "exp": now + 60, "oid": "o"} | changes
    claims = {name: value for name, value in claims.items() if value is not None}
    return jwt.encode(claims, issuer._key, algorithm="RS256", headers={"kid": issuer._public["kid"]})


@pytest.mark.parametrize("claim", ["oid", "exp", "aud", "iss"])
def test_claims_that_it_needs(issuer: Issuer, claim: str) -> None:
    with pytest.raises(TokenRefused) as refused:
        issuer.verify(signed(issuer, {claim: None}), DATABASE)
    assert str(refused.value).startswith(f"The access token doesn't have a valid {claim} claim.")


@pytest.mark.parametrize("changes", [{"oid": 7}, {"groups": "g"}, {"exp": "soon"}, {"aud": 5}])
def test_claims_of_another_type(issuer: Issuer, changes: dict[str, Any]) -> None:
    with pytest.raises(TokenRefused):
        issuer.verify(signed(issuer, changes), DATABASE)


def test_not_valid_yet(issuer: Issuer) -> None:
    with pytest.raises(TokenNotYetValid, match=r"^The access token is not valid yet\. Compare the clocks\.$"):
        issuer.verify(signed(issuer, {"nbf": int(time.time()) + 3600}), DATABASE)


def test_other_issuer_with_the_true_key(issuer: Issuer) -> None:
    with pytest.raises(TokenForged):
        issuer.verify(signed(issuer, {"iss": "https://sts.windows.net/other/"}), DATABASE)


def test_true_key_id_with_another_key(issuer: Issuer) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    claims = {"aud": DATABASE, "iss": issuer.name, "exp": int(time.time()) + 60, "oid": "o"}
    token = jwt.encode(claims, key, algorithm="RS256", headers={"kid": issuer._public["kid"]})
    with pytest.raises(TokenForged):
        issuer.verify(token, DATABASE)


def part(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()


def test_unsigned_and_signed_with_what_is_public(issuer: Issuer) -> None:
    """The two classic forgeries: no algorithm, and HMAC with the public key as its secret."""
    claims = {"aud": DATABASE, "iss": issuer.name, "exp": int(time.time()) + 60, "oid": "o"}
    kid = issuer._public["kid"]
    for algorithm in ("none", "HS256"):
        token = f"{part({'alg': algorithm, 'kid': kid})}.{part(claims)}.{part('x') if algorithm != 'none' else ''}"
        with pytest.raises(TokenRefused):
            issuer.verify(token, DATABASE)


def test_too_long(issuer: Issuer, good: str) -> None:
    with pytest.raises(TokenMalformed, match=rf"^The access token is longer than {LONGEST} characters\."):
        issuer.verify(good + "x" * LONGEST, DATABASE)


def test_deep_nesting(issuer: Issuer) -> None:
    with pytest.raises(TokenMalformed, match="cannot be read"):
        issuer.verify(f"{part('[' * 11_000)}.{part({})}.x", DATABASE)


@given(st.text(max_size=300) | st.lists(st.text("eyJ.-_=abc", max_size=40)).map(".".join))
@example("")
@example("..")
@example("\ud800.a.b")
@example("é.é.é")
def test_garbage_is_refused_in_words(issuer: Issuer, garbage: str) -> None:
    with pytest.raises(TokenRefused) as refused:
        issuer.verify(garbage, DATABASE)
    if len(garbage) > 20:
        assert garbage not in str(refused.value)


headers = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(
    st.dictionaries(st.sampled_from(["alg", "kid", "typ", "crit", "b64", "jwk", "x5u"]), headers),
    headers,
    st.binary(),
)
def test_any_json_is_refused(issuer: Issuer, header: dict[str, Any], claims: Any, signature: bytes) -> None:
    for kid in ({}, {"kid": issuer._public["kid"], "alg": "RS256"}):
        token = f"{part(header | kid)}.{part(claims)}.{base64.urlsafe_b64encode(signature).decode()}"
        with pytest.raises(TokenRefused):
            issuer.verify(token, DATABASE)


@given(st.data())
def test_a_changed_character_is_refused(issuer: Issuer, good: str, data: st.DataObject) -> None:
    # The last character of a part holds bits that count for nothing.
    at = data.draw(st.integers(0, len(good) - 2).filter(lambda at: "." not in good[at : at + 2]))
    other = data.draw(st.sampled_from("AZaz09-_.").filter(lambda character: character != good[at]))
    with pytest.raises(TokenRefused):
        issuer.verify(good[:at] + other + good[at + 1 :], DATABASE)


# The key


def test_key_is_its_owners_alone(folder: Path, good: str) -> None:
    assert stat.S_IMODE((folder / "signing.key").stat().st_mode) == 0o600
    assert stat.S_IMODE((folder / "directory.json").stat().st_mode) == 0o600


def test_public_part_checks_and_holds_no_secret(issuer: Issuer, good: str) -> None:
    kept = json.loads(json.dumps([dict(key) for key in issuer.trust.keys]))
    assert set(kept[0]) == {"kty", "use", "alg", "kid", "n", "e"}
    Trust(issuer.trust.issuer, tuple(kept)).verify(good, [DATABASE])


def test_tokens_outlive_the_process_that_issued_them(folder: Path, good: str) -> None:
    Issuer(folder, Identities(folder)).verify(good, DATABASE)


def test_one_key_however_many_start_at_once(tmp_path: Path) -> None:
    found: list[str] = []

    def start() -> None:
        found.append(Issuer(tmp_path, Identities(tmp_path))._public["kid"])

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert len(set(found)) == 1


def test_damaged_key(tmp_path: Path) -> None:
    (tmp_path / "signing.key").write_text("not a key")
    with pytest.raises(IdentityError, match=r"signing\.key is damaged\. Remove it: another is made"):
        _ = Issuer(tmp_path, Identities(tmp_path)).trust

"""How a login is decided: every way its messages may be cut, and every lie in them."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from azpg_runtime.access_tokens import DATABASE, LONGEST
from azpg_runtime.arm.identity.identities import Identities
from azpg_runtime.arm.identity.tokens import Issuer
from azpg_runtime.errors import EntraError
from azpg_runtime.postgres.entra.access import Access, AccessFile, Principal, PrincipalType
from azpg_runtime.postgres.front.greeting import CANCEL_REQUEST, Answer, Forward, Refuse
from azpg_runtime.postgres.front.login import CLEARTEXT_PASSWORD, Enter, Login, Step
from azpg_runtime.postgres.front.startup import Startup, parse
from tests.unit.test_front_greeting import cut, fields, packet, places

ALICE = "alice@contoso.com"


class Tenant:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        identities = Identities(folder)
        self.issuer = Issuer(folder, identities)
        self.alice = identities.default
        alice = Principal(self.alice.object_id, ALICE, PrincipalType.USER)
        self.access = Access(self.issuer.trust, True, (alice,), ())
        self.token = self.issuer.issue(self.alice, DATABASE, 3600).encode()


@pytest.fixture(scope="module")
def tenant(tmp_path_factory: pytest.TempPathFactory) -> Tenant:
    return Tenant(tmp_path_factory.mktemp("tenant"))


def startup(user: str = ALICE, **options: str) -> bytes:
    return Startup(
        3 << 16, tuple((name.encode(), text.encode()) for name, text in {"user": user, **options}.items())
    ).encode()


def password(text: bytes) -> bytes:
    return b"p" + struct.pack("!I", 5 + len(text)) + text + b"\0"


def answer(login: Login, pieces: list[bytes]) -> Step | None:
    for piece in pieces:
        step = login.feed(piece)
        if step is not None:
            return step
    return None


# The start-up packet

names = st.binary(min_size=1, max_size=20).filter(lambda name: b"\0" not in name)
values = st.binary(max_size=20).filter(lambda value: b"\0" not in value)


@given(st.dictionaries(names, values, max_size=6), st.integers(0, 3), st.binary(max_size=20))
def test_what_is_encoded_is_parsed(options: dict[bytes, bytes], minor: int, rest: bytes) -> None:
    made = Startup(3 << 16 | minor, tuple(options.items()))
    assert parse(made.encode() + rest) == (made, rest)
    assert made.user == options.get(b"user")


def as_postgresql(body: bytes) -> list[tuple[bytes, bytes]] | None:
    """Names and values as ProcessStartupPacket reads them; None where it complains."""
    found, at = [], 0
    terminated = body + b"\0"
    while at < len(body):
        name = terminated[at : terminated.index(b"\0", at)]
        if not name:
            break
        of_value = at + len(name) + 1
        if of_value >= len(body):
            break
        value = terminated[of_value : terminated.index(b"\0", of_value)]
        found.append((name, value))
        at = of_value + len(value) + 1
    return found if at == len(body) - 1 else None


@given(
    st.binary(max_size=100)
    | st.lists(st.sampled_from([b"\0", b"a", b"user", b"\0\0"]), max_size=12).map(b"".join)
)
@example(b"")
@example(b"\0")
@example(b"user\0a\0")
@example(b"user\0a\0\0")
@example(b"user\0a\0\0\0")
@example(b"user\0\0\0")
@example(b"user\0a\0x")
@example(b"x")
@example(b"\0a\0\0")
def test_any_bytes_mean_what_they_mean_to_postgresql(body: bytes) -> None:
    """What the front reads in another way would be a way in for somebody else."""
    found = parse(packet(3 << 16, body))
    assert (None if found is None else list(found[0].options)) == as_postgresql(body)


@given(
    st.lists(st.tuples(st.sampled_from([b"user", b"database"]), values.filter(bool)), min_size=1, max_size=6)
)
def test_the_last_of_each_counts_and_only_that_is_passed_on(options: list[tuple[bytes, bytes]]) -> None:
    made = Startup(3 << 16, tuple(options))
    assert parse(made.encode()) == (Startup(3 << 16, tuple(dict(options).items())), b"")


@pytest.mark.parametrize("code", [CANCEL_REQUEST, 2 << 16, 4 << 16])
def test_other_packets_are_postgresqls_matter(tenant: Tenant, code: int) -> None:
    whole = packet(code, b"user\0" + ALICE.encode() + b"\0\0")
    assert parse(whole) is None
    assert Login(tenant.access, encrypted=True).begin(whole) == Forward(whole)


# Who is asked for a token


@given(st.binary(max_size=100), st.booleans())
def test_where_nothing_is_configured_everything_is_passed_on(body: bytes, encrypted: bool) -> None:
    whole = packet(3 << 16, body)
    assert Login(Access(), encrypted=encrypted).begin(whole) == Forward(whole)


@given(st.text(max_size=30).filter(lambda name: "\0" not in name and name != ALICE and name.isprintable()))
@example(ALICE.upper())
@example(f"{ALICE} ")
@example("")
def test_other_roles_are_passed_on_as_they_came(tenant: Tenant, name: str) -> None:
    whole = startup(name, database="x") + b"surplus"
    assert Login(tenant.access, encrypted=True).begin(whole) == Forward(whole)


def test_a_role_of_bytes_that_are_no_text(tenant: Tenant) -> None:
    whole = packet(3 << 16, b"user\0\xff\xfe\0\0")
    assert Login(tenant.access, encrypted=True).begin(whole) == Forward(whole)


@pytest.mark.parametrize("last", [b"\0", b"x"])
def test_no_packet_gets_a_password_past_a_server_without(tenant: Tenant, last: bytes) -> None:
    """PostgreSQL takes any last byte."""
    whole = packet(3 << 16, b"user\0pgadmin\0" + last)
    step = Login(Access(tenant.issuer.trust, False, (), ()), encrypted=True).begin(whole)
    assert isinstance(step, Refuse)
    assert fields(step.reply)["M"] == "password authentication is disabled on this server"


def test_in_plain_nothing_is_asked(tenant: Tenant) -> None:
    step = Login(tenant.access, encrypted=False).begin(startup() + password(tenant.token))
    assert isinstance(step, Refuse)
    assert fields(step.reply)["C"] == "28000"
    assert fields(step.reply)["H"] == "Connect with sslmode=require."


# The answer


@given(places=places, rest=st.binary(max_size=20))
def test_a_good_token_however_it_is_cut(tenant: Tenant, places: list[float], rest: bytes) -> None:
    whole = password(tenant.token) + rest
    login = Login(tenant.access, encrypted=True)
    assert login.begin(startup(database="d")) == Answer(CLEARTEXT_PASSWORD)
    step = answer(login, cut(whole, places))
    assert isinstance(step, Enter)
    # What comes after the password is passed on when it comes; in one piece it goes along.
    assert startup(database="d").startswith(step.received[: len(startup(database="d"))])
    assert (startup(database="d") + rest).startswith(step.received)


def test_an_answer_that_came_early(tenant: Tenant) -> None:
    login = Login(tenant.access, encrypted=True)
    assert login.begin(startup() + password(tenant.token) + b"more") == Answer(CLEARTEXT_PASSWORD)
    assert login.feed(b"") == Enter(startup() + b"more")


@given(places=places, data=st.binary(min_size=5, max_size=300))
@example([], b"p\0\0\0\x05\0")
@example([], b"p\0\0\0\x04")
@example([], b"p\0\0\0\0\0")
@example([], b"p\xff\xff\xff\xff")
@example([0.5], b"p" + struct.pack("!I", LONGEST + 6))
def test_any_other_answer_enters_nowhere(tenant: Tenant, places: list[float], data: bytes) -> None:
    login = Login(tenant.access, encrypted=True)
    assert login.begin(startup()) == Answer(CLEARTEXT_PASSWORD)
    step = answer(login, cut(data, places))
    if step is None:
        assert data[:1] == b"p"
        assert struct.unpack_from("!I", data, 1)[0] >= len(data)
        return
    assert isinstance(step, Refuse)
    assert fields(step.reply)["C"] in {"08P01", "28P01"}


@given(st.text(max_size=200).filter(lambda text: "\0" not in text))
def test_a_password_that_is_no_token_is_refused_and_not_repeated(tenant: Tenant, text: str) -> None:
    login = Login(tenant.access, encrypted=True)
    login.begin(startup())
    step = login.feed(password(text.encode(errors="replace")))
    assert isinstance(step, Refuse)
    assert fields(step.reply)["C"] == "28P01"
    if len(text) > 20:
        assert text.encode(errors="replace") not in step.reply


def test_how_long_a_token_may_be(tenant: Tenant) -> None:
    """One that is too long is refused by its length, before it is received."""
    longest, longer = password(b"x" * LONGEST), password(b"x" * (LONGEST + 1))
    for pieces, said in (
        ([longest], "The access token cannot be read."),
        ([longer[:5]], f"The access token is longer than {LONGEST} characters."),
    ):
        login = Login(tenant.access, encrypted=True)
        login.begin(startup())
        step = answer(login, pieces)
        assert isinstance(step, Refuse)
        assert fields(step.reply)["M"] == said


@pytest.mark.parametrize(
    ("kind", "noun"),
    [
        (PrincipalType.USER, "user"),
        (PrincipalType.GROUP, "group"),
        (PrincipalType.SERVICE_PRINCIPAL, "service principal"),
        (PrincipalType.UNKNOWN, "principal"),
    ],
)
def test_who_the_role_is_instead(tenant: Tenant, kind: PrincipalType, noun: str) -> None:
    login = Login(Access(tenant.issuer.trust, True, (Principal("other", ALICE, kind),), ()), encrypted=True)
    login.begin(startup())
    step = login.feed(password(tenant.token))
    assert isinstance(step, Refuse)
    assert fields(step.reply)["D"] == f"The role is the {noun} other."


# The file


def test_what_is_saved_is_loaded_and_the_front_sees_it_at_once(tenant: Tenant, tmp_path: Path) -> None:
    path = tmp_path / "access.json"
    file = AccessFile(path)
    assert file.current() == Access()
    tenant.access.save(path)
    assert Access.load(path) == tenant.access
    assert file.current() == tenant.access
    Access(None, True, (), ("bob",)).save(path)
    assert file.current().former == ("bob",)
    path.unlink()
    assert file.current() == Access()


def test_nobodys_secret_is_in_it(tenant: Tenant, tmp_path: Path) -> None:
    tenant.access.save(tmp_path / "access.json")
    assert '"d"' not in (tmp_path / "access.json").read_text()
    assert (tmp_path / "access.json").stat().st_mode & 0o777 == 0o644


@given(st.text(max_size=50) | st.sampled_from(["{}", "[]", "null", '{"trust": 1}', '{"trust": {}}']))
def test_a_damaged_file_is_refused_every_time(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.mktemp("damaged") / "access.json"
    path.write_text(text, errors="surrogatepass")
    file = AccessFile(path)
    for _ in range(2):
        with pytest.raises(EntraError, match=r"access\.json is damaged: .* Remove it, and configure"):
            file.current()

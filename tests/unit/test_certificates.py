"""The certificate authority of a home: made once, bound to local names, never silently wrong."""

from __future__ import annotations

import ipaddress
import os
import shutil
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from hypothesis import given, settings
from hypothesis import strategies as st

from azpg_runtime import certificates as module
from azpg_runtime.certificates import LOCAL_NAMES, Authority
from azpg_runtime.errors import CertificateError

NAMES = (*LOCAL_NAMES, "mine.postgres.database.azure.com")
TODAY = datetime.now(UTC)


def later(days: int) -> Callable[[], datetime]:
    return lambda: TODAY + timedelta(days=days)


def strict(authority: Path) -> ssl.SSLContext:
    """A client as careful as OpenSSL can make it."""
    context = ssl.create_default_context(cafile=authority)
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    return context


def handshake(server: Path, client: ssl.SSLContext, name: str) -> None:
    """A whole handshake between two ends in memory."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(server)
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(down, up, server_hostname=name),
        context.wrap_bio(up, down, server_side=True),
    ]
    while ends:
        for end in list(ends):
            try:
                end.do_handshake()
                ends.remove(end)
            except ssl.SSLWantReadError:
                continue


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "ca")


def test_making_the_object_touches_nothing(authority: Authority, tmp_path: Path) -> None:
    assert list(tmp_path.iterdir()) == []
    assert authority.path == tmp_path / "ca" / "ca.crt"


def test_it_is_made_once_and_kept(authority: Authority, tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        first = authority.certificate()
    finally:
        os.umask(before)
    assert Authority(tmp_path / "ca").certificate() == first
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "ca").iterdir()}
    assert modes == {"ca.crt": 0o644, "ca.key": 0o600}
    assert (tmp_path / "ca").stat().st_mode & 0o777 == 0o755
    assert [path.name for path in tmp_path.iterdir()] == ["ca"]
    assert first.subject.rfc4514_string().startswith("CN=azpg local CA ")


def test_several_processes_make_one(tmp_path: Path) -> None:
    script = "import sys; from pathlib import Path; from azpg_runtime.certificates import Authority\n"
    script += "input(); print(Authority(Path(sys.argv[1])).certificate().serial_number)"
    started = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(tmp_path / "ca")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    said = []
    for process in started:  # all of them are told before any is waited for
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    for process in started:
        said.append(process.communicate(timeout=60)[0])
        assert process.returncode == 0
    assert len(set(said)) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["ca"]


def test_whoever_loses_the_race_takes_the_winners(tmp_path: Path) -> None:
    found: list[x509.Certificate] = []
    barrier = threading.Barrier(4)

    def make() -> None:
        authority = Authority(tmp_path / "ca")
        barrier.wait()
        authority._create()
        found.append(authority.certificate())

    threads = [threading.Thread(target=make) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert len(set(found)) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["ca"]


@pytest.mark.parametrize("name", NAMES)
def test_a_careful_client_takes_what_it_certifies(authority: Authority, tmp_path: Path, name: str) -> None:
    server = tmp_path / "server.pem"
    assert authority.certify(server, subject="mine", names=NAMES) is True
    assert server.stat().st_mode & 0o777 == 0o600
    handshake(server, strict(authority.path), name)


def test_a_client_of_another_authority_or_for_another_name_refuses(
    authority: Authority, tmp_path: Path
) -> None:
    server = tmp_path / "server.pem"
    authority.certify(server, subject="mine", names=NAMES)
    other = Authority(tmp_path / "other")
    other.certificate()
    with pytest.raises(ssl.SSLCertVerificationError, match="certificate verify failed"):
        handshake(server, strict(other.path), "localhost")
    for name in ("other.postgres.database.azure.com", "127.0.0.2"):
        with pytest.raises(ssl.SSLCertVerificationError, match=r"[Mm]ismatch"):
            handshake(server, strict(authority.path), name)


@pytest.mark.parametrize(
    "name", ["example.com", "login.microsoftonline.com", "database.azure.com", "192.0.2.1", "::2"]
)
def test_it_can_deceive_nobody_about_another_host(authority: Authority, tmp_path: Path, name: str) -> None:
    server = tmp_path / "server.pem"
    authority.certify(server, subject="evil", names=[name])
    with pytest.raises(ssl.SSLCertVerificationError, match="permitted subtree violation"):
        handshake(server, strict(authority.path), name)


@pytest.mark.parametrize(
    "name",
    [
        x509.RFC822Name("a@google.com"),
        x509.RFC822Name("a@localhost"),
        x509.UniformResourceIdentifier("https://google.com/"),
        x509.UniformResourceIdentifier("https://localhost/"),
    ],
    ids=str,
)
def test_nor_by_other_kinds_of_names(
    authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: x509.GeneralName
) -> None:
    """As whoever has its key could ask for them."""
    as_ever = module._general_name
    monkeypatch.setattr(module, "_general_name", lambda text: name if text == "other" else as_ever(text))
    server = tmp_path / "server.pem"
    authority.certify(server, subject="evil", names=["localhost", "other"])
    with pytest.raises(ssl.SSLCertVerificationError, match="permitted subtree violation"):
        handshake(server, strict(authority.path), "localhost")


def test_another_authority_may_be_bound_to_other_names(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca", domains=["example.com"])
    server = tmp_path / "server.pem"
    authority.certify(server, subject="x", names=["a.example.com"])
    handshake(server, strict(authority.path), "a.example.com")
    authority.certify(server, subject="x", names=["localhost"])
    with pytest.raises(ssl.SSLCertVerificationError, match="permitted subtree violation"):
        handshake(server, strict(authority.path), "localhost")


def test_a_good_certificate_is_left_alone(authority: Authority, tmp_path: Path) -> None:
    server = tmp_path / "server.pem"
    authority.certify(server, subject="mine", names=NAMES)
    before = server.read_bytes()
    assert authority.certify(server, subject="mine", names=NAMES) is False
    assert Authority(tmp_path / "ca", now=later(300)).certify(server, subject="mine", names=NAMES) is False
    assert server.read_bytes() == before


def test_it_is_made_again_before_it_expires(authority: Authority, tmp_path: Path) -> None:
    server = tmp_path / "server.pem"
    authority.certify(server, subject="mine", names=NAMES)
    soon = Authority(tmp_path / "ca", now=later(320))
    assert soon.certify(server, subject="mine", names=NAMES) is True
    assert soon.certify(server, subject="mine", names=NAMES) is False


def test_it_is_made_again_for_other_names_and_another_authority(authority: Authority, tmp_path: Path) -> None:
    server = tmp_path / "server.pem"
    authority.certify(server, subject="mine", names=NAMES)
    assert authority.certify(server, subject="mine", names=NAMES[:2]) is True
    shutil.rmtree(tmp_path / "ca")
    assert authority.certify(server, subject="mine", names=NAMES[:2]) is True
    handshake(server, strict(authority.path), "localhost")


def test_none_lives_longer_than_its_authority(tmp_path: Path) -> None:
    Authority(tmp_path / "ca", now=later(-3600)).certificate()
    authority = Authority(tmp_path / "ca")
    server = tmp_path / "server.pem"
    assert authority.certify(server, subject="mine", names=NAMES) is True
    assert authority.certify(server, subject="mine", names=NAMES) is False, "it cannot be made any better"
    handshake(server, strict(authority.path), "localhost")


def test_an_expired_authority_says_what_to_do(tmp_path: Path) -> None:
    Authority(tmp_path / "ca", now=later(-4000)).certificate()
    with pytest.raises(CertificateError) as caught:
        Authority(tmp_path / "ca").certify(tmp_path / "server.pem", subject="mine", names=NAMES)
    expired = TODAY + timedelta(days=3650 - 4000)
    assert caught.value.message == f"the CA certificate {tmp_path}/ca/ca.crt expired on {expired:%Y-%m-%d}."
    assert caught.value.hint == (
        f"Remove the folder {tmp_path}/ca. `azpg ca` then makes a new CA; servers take it at the next "
        "`azpg up`, and clients have to be given it."
    )
    assert not (tmp_path / "server.pem").exists()


def test_an_authority_of_the_future_says_what_to_do(authority: Authority, tmp_path: Path) -> None:
    Authority(tmp_path / "ca", now=later(10)).certificate()
    with pytest.raises(CertificateError, match=r"is valid from .* on\. Set this machine's clock\."):
        authority.certificate()


def other(folder: Path) -> Path:
    another = folder.parent / "another"
    Authority(another).certificate()
    return another


def issued(folder: Path) -> None:
    """A server's certificate in place of the authority's."""
    Authority(other(folder)).certify(folder / "ca.crt", subject="x", names=NAMES)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda ca: (ca / "ca.crt").unlink(), "ca.crt is missing"),
        (lambda ca: (ca / "ca.key").unlink(), "ca.key is missing"),
        (lambda ca: (ca / "ca.crt").write_text(""), "ca.crt cannot be read"),
        (lambda ca: (ca / "ca.key").write_text("no key"), "ca.key cannot be read"),
        (lambda ca: (ca / "ca.crt").write_bytes((ca / "ca.key").read_bytes()), "ca.crt cannot be read"),
        (lambda ca: shutil.copy(other(ca) / "ca.key", ca / "ca.key"), "ca.key is not the key of ca.crt"),
        (issued, "ca.crt is not as it was made"),
    ],
)
def test_a_damaged_authority_says_what_to_do(
    authority: Authority, tmp_path: Path, damage: Callable[[Path], object], said: str
) -> None:
    authority.certificate()
    damage(tmp_path / "ca")
    for _ in range(2):
        with pytest.raises(CertificateError) as caught:
            authority.certify(tmp_path / "server.pem", subject="mine", names=NAMES)
        assert caught.value.message == f"the CA in {tmp_path}/ca is damaged: {said}."
        assert caught.value.hint.startswith(f"Remove the folder {tmp_path}/ca.")
    assert not (tmp_path / "server.pem").exists()
    shutil.rmtree(tmp_path / "ca")
    assert authority.certify(tmp_path / "server.pem", subject="mine", names=NAMES) is True


@pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning")
@settings(deadline=None, max_examples=60)
@given(
    name=st.sampled_from(["ca/ca.crt", "ca/ca.key", "server.pem"]),
    where=st.floats(0, 1, exclude_max=True),
    letter=st.sampled_from("ABCDEFGHabcdefgh01234567+/-=\n"),
)
def test_whatever_is_damaged_is_noticed(
    name: str, where: float, letter: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("damaged")
    authority = Authority(folder / "ca")
    authority.certify(folder / "server.pem", subject="mine", names=NAMES)
    path = folder / name
    pem = path.read_text()
    position = int(where * len(pem))
    path.write_text(pem[:position] + letter + pem[position + 1 :])
    # Either it is refused in words, or everything works: a letter may have been replaced by itself.
    try:
        authority.certify(folder / "server.pem", subject="mine", names=NAMES)
        (folder / "again.pem").unlink(missing_ok=True)
        authority.certify(folder / "again.pem", subject="mine", names=NAMES)
    except CertificateError as error:
        assert "is damaged" in error.message  # noqa: PT017
        assert name != "server.pem"
        return
    handshake(folder / "server.pem", strict(authority.path), "localhost")
    handshake(folder / "again.pem", strict(authority.path), "localhost")


def test_the_key_is_read_by_nobody_else_on_the_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    rename = Path.rename

    def spy(self: Path, target: Path) -> Path:
        seen.append((self / "ca.key").stat().st_mode & 0o777)
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", spy)
    Authority(tmp_path / "ca").certificate()
    assert seen == [0o600]


def test_what_it_says_of_itself(authority: Authority) -> None:
    extensions = authority.certificate().extensions
    constraints = extensions.get_extension_for_class(x509.NameConstraints)
    assert constraints.critical
    assert {name.value for name in constraints.value.permitted_subtrees or ()} == {
        "localhost",
        "postgres.database.azure.com",
        ipaddress.ip_network("127.0.0.0/8"),
        ipaddress.ip_network("::1/128"),
        "azpg.invalid",
    }
    basic = extensions.get_extension_for_class(x509.BasicConstraints)
    assert (basic.critical, basic.value.ca, basic.value.path_length) == (True, True, 0)


def test_ssl_takes_the_file_as_it_is(authority: Authority, tmp_path: Path) -> None:
    """One file, so that key and certificate cannot be of different making; with real sockets."""
    server = tmp_path / "server.pem"
    authority.certify(server, subject="mine", names=NAMES)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(server)
    ours, theirs = socket.socketpair()
    thread = threading.Thread(target=lambda: context.wrap_socket(theirs, server_side=True).close())
    thread.start()
    with strict(authority.path).wrap_socket(ours, server_hostname="localhost") as client:
        assert client.version() == "TLSv1.3"
    thread.join()

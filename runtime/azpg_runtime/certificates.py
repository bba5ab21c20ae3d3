"""TLS certificates: one certificate authority for an AZPG_HOME, and the servers that it certifies.

::

    AZPG_HOME/ca/
      ca.crt    what clients are told to trust; everybody may read it
      ca.key    0600

The authority is bound by name constraints to names that mean this machine, and to the names of Flexible
Servers, which a local one stands for. Whoever trusts it can be deceived about no other host, even if its
key is stolen.
"""

from __future__ import annotations

import ipaddress
import shutil
import tempfile
from collections.abc import Callable, Collection
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from azpg_runtime.errors import CertificateError
from azpg_runtime.files import sync_folder, write_atomically

_Parsed = TypeVar("_Parsed")

SERVER_DOMAIN = "postgres.database.azure.com"
LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")
_PERMITTED_DOMAINS = ("localhost", SERVER_DOMAIN)
_PERMITTED_NETWORKS = ("127.0.0.0/8", "::1/128")
_NOBODY = "azpg.invalid"
"""The one host that a new authority may vouch for in e-mail addresses and URIs; RFC 2606 gives it to nobody.

Names of a kind that no constraint speaks of could be any.
"""

_AUTHORITY_LIFE = timedelta(days=3650)
_SERVER_LIFE, _RENEWED_BEFORE = timedelta(days=397), timedelta(days=90)
_UNUSABLE = (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm, x509.InvalidVersion)
"""What the library raises for files that are not what they should be."""
_CLOCK_SKEW = timedelta(days=1)
"""So that a client whose clock is a little behind takes a certificate that was made just now."""


def _now() -> datetime:
    return datetime.now(UTC)


class Authority:
    """The certificate authority in one folder. Making the object touches nothing.

    Args:
        folder: holds ca.crt and ca.key, and is made with them.
        domains: a new authority may certify these DNS names and those below them.
        now: the clock.
    """

    def __init__(
        self,
        folder: Path,
        *,
        domains: Collection[str] = _PERMITTED_DOMAINS,
        now: Callable[[], datetime] = _now,
    ) -> None:
        self._folder = folder
        self._domains = domains
        self._now = now

    @property
    def path(self) -> Path:
        """The authority's own certificate."""
        return self._folder / "ca.crt"

    def certificate(self) -> x509.Certificate:
        """The authority's own certificate; the first time, the authority is made.

        Raises:
            CertificateError: it is damaged, expired or not yet valid.
        """
        if not self._folder.exists():
            self._create()
        found = self._read(self.path, x509.load_pem_x509_certificate)
        try:
            found.verify_directly_issued_by(found)
            intact = self.path.read_text() == _pem(found)  # other libraries read it less leniently
        except _UNUSABLE:
            intact = False
        if not intact:
            raise self._damaged("ca.crt is not as it was made")
        if self._now() > found.not_valid_after_utc:
            raise CertificateError(
                f"the CA certificate {self.path} expired on {found.not_valid_after_utc:%Y-%m-%d}.",
                hint=self._remedy,
            )
        if self._now() < found.not_valid_before_utc:
            raise CertificateError(
                f"the CA certificate {self.path} is valid from {found.not_valid_before_utc:%Y-%m-%d} on.",
                hint="Set this machine's clock.",
            )
        return found

    def certify(self, path: Path, *, subject: str, names: Collection[str]) -> bool:
        """Puts a private key and its certificate into the file `path`, unless good ones are there.

        Args:
            path: one PEM file with mode 0600, as `ssl.SSLContext.load_cert_chain` takes it.
            subject: the common name, at most 64 characters.
            names: the DNS names and IP addresses that clients may ask for.

        Returns:
            Whether new ones were made: there were none, or damaged ones, or they are for other names, by
            another authority, or will expire within 90 days.

        Raises:
            CertificateError: the authority is damaged, expired or not yet valid.
        """
        authority = self.certificate()
        wanted = x509.SubjectAlternativeName([_general_name(name) for name in names])
        if self._is_good(path, authority, wanted):
            return False
        key = ec.generate_private_key(ec.SECP256R1())
        now = self._now()
        certificate = (
            _builder(subject, key.public_key(), now)
            .issuer_name(authority.subject)
            .not_valid_after(min(now + _SERVER_LIFE, authority.not_valid_after_utc))
            .add_extension(wanted, critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(digital_signature=True), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(_authority_identifier(authority), critical=False)
            .sign(self._key(authority), hashes.SHA256())
        )
        write_atomically(path, _pem_of_key(key) + _pem(certificate), mode=0o600)
        return True

    def _is_good(self, path: Path, authority: x509.Certificate, wanted: x509.SubjectAlternativeName) -> bool:
        try:
            pem = path.read_bytes()
            key = serialization.load_pem_private_key(pem, password=None)
            found = x509.load_pem_x509_certificate(pem)
            found.verify_directly_issued_by(authority)
            names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except (FileNotFoundError, *_UNUSABLE):
            return False
        # One that ends with the authority would not live longer if it were made again.
        latest = min(self._now() + _RENEWED_BEFORE, authority.not_valid_after_utc)
        return (
            isinstance(key, ec.EllipticCurvePrivateKey)
            and pem.decode() == _pem_of_key(key) + _pem(found)
            and key.public_key() == found.public_key()
            and names == wanted
            and found.not_valid_before_utc <= self._now()
            and found.not_valid_after_utc >= latest
        )

    def _key(self, authority: x509.Certificate) -> ec.EllipticCurvePrivateKey:
        path = self._folder / "ca.key"
        key = self._read(path, lambda pem: serialization.load_pem_private_key(pem, password=None))
        if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != authority.public_key():
            raise self._damaged("ca.key is not the key of ca.crt")
        return key

    def _read(self, path: Path, parse: Callable[[bytes], _Parsed]) -> _Parsed:
        try:
            return parse(path.read_bytes())
        except FileNotFoundError:
            raise self._damaged(f"{path.name} is missing") from None
        except _UNUSABLE:
            raise self._damaged(f"{path.name} cannot be read") from None

    def _create(self) -> None:
        """Makes key and certificate together: another process sees both or none."""
        key = ec.generate_private_key(ec.SECP256R1())
        now = self._now()
        identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        # A name of its own tells the authorities of several homes apart in a list of trusted ones.
        name = f"azpg local CA {identifier.digest.hex()[:8]}"
        certificate = (
            _builder(name, key.public_key(), now)
            .issuer_name(_name(name))
            .not_valid_after(now + _AUTHORITY_LIFE)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(key_cert_sign=True, crl_sign=True), critical=True)
            .add_extension(
                x509.NameConstraints(
                    [x509.DNSName(domain) for domain in self._domains]
                    + [x509.IPAddress(ipaddress.ip_network(network)) for network in _PERMITTED_NETWORKS]
                    + [x509.RFC822Name(_NOBODY), x509.UniformResourceIdentifier(_NOBODY)],
                    None,
                ),
                critical=True,
            )
            .sign(key, hashes.SHA256())
        )
        temporary = Path(tempfile.mkdtemp(dir=self._folder.parent, prefix=f".{self._folder.name}-"))
        try:
            write_atomically(temporary / "ca.key", _pem_of_key(key), mode=0o600)
            write_atomically(temporary / "ca.crt", _pem(certificate), mode=0o644)
            temporary.chmod(0o755)
            try:
                temporary.rename(self._folder)
            except OSError:
                if not self._folder.is_dir():  # otherwise another process was quicker
                    raise
            sync_folder(self._folder.parent)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def _damaged(self, how: str) -> CertificateError:
        return CertificateError(f"the CA in {self._folder} is damaged: {how}.", hint=self._remedy)

    @property
    def _remedy(self) -> str:
        return (
            f"Remove the folder {self._folder}. `azpg ca` then makes a new CA; servers take it at the next "
            "`azpg up`, and clients have to be given it."
        )


def _builder(subject: str, key: ec.EllipticCurvePublicKey, now: datetime) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(_name(subject))
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SKEW)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _authority_identifier(authority: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    identifier = authority.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)


def _usage(**allowed: bool) -> x509.KeyUsage:
    names = (
        "digital_signature content_commitment key_encipherment data_encipherment key_agreement "
        "key_cert_sign crl_sign encipher_only decipher_only"
    )
    return x509.KeyUsage(**(dict.fromkeys(names.split(), False) | allowed))


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode("ascii")


def _pem_of_key(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode("ascii")

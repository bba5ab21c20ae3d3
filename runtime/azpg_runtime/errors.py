"""Every error of the twin.

::

    azpg.errors.AzpgError
     +-- RuntimeTwinError
          +-- NotWritten               58030  a file could not be written
          |    +-- DiskFull            53100
          +-- InstanceError            a local server could not be started, stopped or found
          |    +-- InstanceNotFound
          |    +-- InstanceNotRunning
          |    +-- ParameterRefused    a server parameter's name or value is not allowed
          |    +-- EntraError          who may log in with a token cannot be changed like that
          +-- ArmError                 the ARM twin could not be started, stopped or reached
          +-- ArmRefusal               a request that the ARM twin answers with Azure's error envelope
          +-- CertificateError         the local certificate authority cannot be used
          +-- PulumiError              a program that cannot run, or not without a cloud
          +-- IdentityError            an identity or a key of the local directory cannot be used
          |    +-- IdentityNotFound
          |    +-- SecretWrong         a client secret that is not the identity's
          +-- TokenRefused             28P01  an access token that proves nothing
          |    +-- TokenMalformed      no JSON Web Token, or one without what it needs
          |    +-- TokenForged         not signed by the issuer that is trusted
          |    +-- TokenExpired
          |    +-- TokenNotYetValid
          |    +-- TokenForAnother     its audience is another service
          +-- ModelError               carries an SQLSTATE: the same error reaches a person through SQL
          |    +-- ModelNotFound       42704
          |    +-- ModelInvalid        22023  files that are no model, or do not fit together
          |    +-- ModelConflict       42710  a name or URI that already means something else
          |    +-- ModelUnreadable     58P01  a file that does not exist or may not be read
          |    +-- ModelPullFailed     58030
          |    +-- OutOfMemory         53200
          |    +-- OutOfThreads        53000
          +-- EmbeddingError           carries an SQLSTATE
          |    +-- TextTooLong         54000
          |    +-- TooManyTexts        54000
          |    +-- EmbeddingCancelled  57014
          +-- HostError                carries an SQLSTATE
               +-- InvalidSetting      22023
               +-- DeadlineExceeded    57014
               +-- HostBusy            53400
               +-- ProtocolError       08P01
"""

from azpg.errors import AzpgError


class RuntimeTwinError(AzpgError):
    """Any error of the twin.

    Attributes:
        detail: a second sentence with figures or names, or ''.
        hint: what to do next, or ''.
        sqlstate: the five characters under which SQL reports it.
    """

    sqlstate = "XX000"

    def __init__(self, message: str, *, detail: str = "", hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.detail = detail
        self.hint = hint

    def __str__(self) -> str:
        parts = [part for part in (self.message, self.detail, self.hint) if part]
        # A message that SQL shows, too, has no full stop of its own.
        parts[:-1] = [part if part.endswith((".", "!", "?", ":")) else f"{part}." for part in parts[:-1]]
        return " ".join(parts)


class NotWritten(RuntimeTwinError):
    """Something could not be written; what was there before is there still."""

    sqlstate = "58030"


class DiskFull(NotWritten):
    """The disk, or what one may have of it, is full."""

    sqlstate = "53100"


class InstanceError(RuntimeTwinError):
    """A local server could not be started, stopped or reached."""


class InstanceNotFound(InstanceError):
    """No instance has this name."""


class InstanceNotRunning(InstanceError):
    """The instance exists but does not run."""


class ParameterRefused(InstanceError):
    """A server parameter's name or value is not allowed."""


class EntraError(InstanceError):
    """Who may log in with a token of Microsoft Entra ID cannot be changed like that."""


class ArmError(RuntimeTwinError):
    """The ARM twin could not be started, stopped or reached."""


class ArmRefusal(RuntimeTwinError):
    """A request to the ARM twin that is refused, or an operation that failed, as Azure would say it.

    Attributes:
        status: the HTTP status.
        code: Azure's word for it, such as ServerIsBusy.
        headers: further headers of the answer.
    """

    def __init__(
        self, status: int, code: str, message: str, *, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.headers = headers or {}


class CertificateError(RuntimeTwinError):
    """The local certificate authority cannot be used."""


class PulumiError(RuntimeTwinError):
    """A Pulumi program cannot be run offline, or asks for something that only Azure has."""


class IdentityError(RuntimeTwinError):
    """An identity of the local directory, or the key that signs its tokens, cannot be used."""


class IdentityNotFound(IdentityError):
    """The directory has no such identity."""


class SecretWrong(IdentityError):
    """A client secret that is not the identity's."""


class TokenRefused(RuntimeTwinError):
    """An access token that proves nothing. No message ever shows the token."""

    sqlstate = "28P01"


class TokenMalformed(TokenRefused):
    """The text is no JSON Web Token, or lacks a claim that it needs."""


class TokenForged(TokenRefused):
    """The token was not signed by the issuer that is trusted."""


class TokenExpired(TokenRefused):
    """The token was good once."""


class TokenNotYetValid(TokenRefused):
    """The token will be good later."""


class TokenForAnother(TokenRefused):
    """The token's audience is another service."""


class ModelError(RuntimeTwinError):
    """A model could not be found, read, added or registered."""


class ModelNotFound(ModelError):
    """No model has this name or URI."""

    sqlstate = "42704"


class ModelInvalid(ModelError):
    """The files are no embedding model, or do not fit together."""

    sqlstate = "22023"


class ModelConflict(ModelError):
    """The name or URI already stands for something else."""

    sqlstate = "42710"


class ModelUnreadable(ModelError):
    """A model's file does not exist or may not be read."""

    sqlstate = "58P01"


class ModelPullFailed(ModelError):
    """A model could not be fetched."""

    sqlstate = "58030"


class OutOfMemory(ModelError):
    """A model does not fit into the memory there is."""

    sqlstate = "53200"


class OutOfThreads(ModelError):
    """The system does not allow as many threads as the settings ask for."""

    sqlstate = "53000"


class EmbeddingError(RuntimeTwinError):
    """A text could not be embedded."""


class TextTooLong(EmbeddingError):
    """A text is beyond the documented byte limit."""

    sqlstate = "54000"


class TooManyTexts(EmbeddingError):
    """A request has more texts than a reply can carry vectors."""

    sqlstate = "54000"


class EmbeddingCancelled(EmbeddingError):
    """Nobody waits for these vectors any more."""

    sqlstate = "57014"


class HostError(RuntimeTwinError):
    """The model host refused or failed a request."""


class InvalidSetting(HostError):
    """A setting's name or value is not allowed."""

    sqlstate = "22023"


class DeadlineExceeded(HostError):
    """The request's time was over before its vectors were made."""

    sqlstate = "57014"


class HostBusy(HostError):
    """The host's queue is full."""

    sqlstate = "53400"


class ProtocolError(HostError):
    """Bytes that are no frame of the host's protocol."""

    sqlstate = "08P01"

"""The ARM twin from outside: started, stopped, asked how it is.

::

    twin = ArmTwin(Home.from_environment())
    twin.start()
    os.environ.update(twin.environment())
"""

from __future__ import annotations

import json
import shutil
import ssl
import urllib.request
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from azpg.extras import need
from azpg_runtime.arm.files import ArmFiles
from azpg_runtime.errors import ArmError, InstanceError
from azpg_runtime.files import make_folder
from azpg_runtime.home import Home
from azpg_runtime.supervision.control import Supervised
from azpg_runtime.system import ports
from azpg_runtime.system.locks import locked
from azpg_runtime.system.logs import rotate

if TYPE_CHECKING:
    from azpg_runtime.arm.settings import Settings

Say = Callable[[str], None]

HOST = "127.0.0.1"
_STATUS_TIMEOUT = 5.0
_NEEDED = (
    "azure.mgmt.cognitiveservices",
    "azure.mgmt.postgresqlflexibleservers",
    "pydantic",
    "starlette",
    "uvicorn",
)


def _silent(_: str) -> None:
    pass


@dataclass(frozen=True, slots=True)
class ArmStatus:
    """How the twin is.

    Attributes:
        state: `running`, `stopped`, or `silent` when its process does not answer.
        servers: the local servers that it made, by name.
    """

    state: str
    endpoint: str | None
    pid: int | None
    profile: str
    subscription_id: str | None
    tenant_id: str | None
    servers: list[str]

    def as_json(self) -> dict[str, Any]:
        """The machine-readable form."""
        return {"version": 1, **asdict(self)}


class ArmTwin:
    """The twin of one home. Making the object touches nothing.

    Args:
        home: where everything lives.
    """

    def __init__(self, home: Home) -> None:
        self._home = home
        self._files = ArmFiles(home)
        self._supervised = Supervised("ARM twin", word="arm", lock=self._files.lock, log=self._files.log)

    @property
    def files(self) -> ArmFiles:
        """Where it keeps its files."""
        return self._files

    def running(self) -> bool:
        """Whether it runs, though perhaps without an answer."""
        return self._supervised.running()

    def start(self, *, port: int | None = None, profile: str | None = None, say: Say = _silent) -> bool:
        """Starts the twin unless it runs.

        Args:
            port: a TCP port on 127.0.0.1; None for the one it had, or any that is free.
            profile: what the servers it makes offer, from now on; see `azpg.profiles`.
            say: told when another command has to be waited for.

        Returns:
            False if it ran already.

        Raises:
            ArmError: it does not start, or runs on another port or with another profile.
            NotAvailable: the extra [arm] is not installed.
            UsageError: for a profile that there is not.
        """
        need("the ARM twin", "arm", *_NEEDED)
        from azpg_runtime.arm.identity import tls  # noqa: PLC0415

        self._home.create()
        with self._locked(say):
            make_folder(self._files.root, 0o700)
            kept = self._settings()
            wanted = replace(kept, port=port or kept.port, profile=profile or kept.profile)
            wanted.check()
            if self.running():
                if wanted != kept:
                    raise ArmError(
                        f"the ARM twin runs on port {kept.port} with profile {kept.profile}.",
                        hint="`azpg arm down` first.",
                    )
                if self._answer() is not None:
                    return False
                self._supervised.stop()  # it hangs
            if not wanted.port or (port is None and not ports.is_free(wanted.port)):
                wanted = replace(wanted, port=ports.choose({wanted.proxy_port}))
            if not wanted.proxy_port or not ports.is_free(wanted.proxy_port):
                wanted = replace(wanted, proxy_port=ports.choose({wanted.port}))
            wanted.save(self._files.settings)
            tls.certify(self._home)
            tls.trusted(self._home)
            rotate(self._files.log)
            try:
                self._supervised.launch(
                    *("--port", str(wanted.port)),
                    module="azpg_runtime.arm",
                    arguments=["--home", str(self._home.root)],
                )
            except InstanceError as error:
                raise ArmError(error.message, detail=error.detail, hint=error.hint) from None
            self._supervised.wait_until_ready(lambda: self._answer() is not None, failure=ArmError)
            return True

    def stop(self, *, delete: bool = False, say: Say = _silent) -> bool:
        """Stops the twin; the servers that it made go on. Returns False if it did not run.

        Args:
            delete: also removes those servers and everything that the twin remembers, for good.
            say: told when another command has to be waited for.
        """
        if not self._home.root.is_dir():
            return False
        with self._locked(say):
            ran = self.running()
            self._supervised.stop()
            if delete:
                from azpg_runtime.postgres.instance import Instance  # noqa: PLC0415

                for path in self._home.root.glob("instances/[a-z0-9]*/resource"):  # also of half-made servers
                    Instance(path.parent.name, home=self._home).discard()
                shutil.rmtree(self._files.root, ignore_errors=True)
            return ran

    def status(self) -> ArmStatus:
        """How the twin is."""
        settings = self._settings()
        running, answer = self.running(), self._answer()
        return ArmStatus(
            state=("running" if answer else "silent") if running else "stopped",
            endpoint=f"https://{HOST}:{settings.port}" if running else None,
            pid=answer["pid"] if answer else None,
            profile=settings.profile,
            subscription_id=answer["subscription_id"] if answer else None,
            tenant_id=answer["tenant_id"] if answer else None,
            servers=self.servers(),
        )

    def environment(self) -> dict[str, str]:
        """What a program needs to meet this twin instead of Azure.

        Raises:
            ArmError: it does not run.
        """
        status = self.status()
        if status.state != "running" or status.endpoint is None:
            raise ArmError("the ARM twin does not run.", hint="`azpg arm up` starts it.")
        from azpg_runtime.arm.identity.environment import environment  # noqa: PLC0415
        from azpg_runtime.arm.identity.identities import Identities  # noqa: PLC0415

        settings = self._settings()
        return {
            "AZPG_ARM_ENDPOINT": status.endpoint,
            "AZURE_SUBSCRIPTION_ID": str(status.subscription_id),
            **environment(
                Identities(self._files.identity),
                port=settings.port,
                proxy_port=settings.proxy_port,
                trusted=self._files.trusted,
            ),
        }

    def servers(self) -> list[str]:
        """The names of the local servers that it made."""
        return [name for name in self._home.instance_names() if self._home.instance(name).resource.is_file()]

    # Steps

    def _locked(self, say: Say) -> AbstractContextManager[None]:
        """One process at a time starts or stops the twin. The file is in no folder that a stop deletes."""
        return locked(
            self._home.root / "locks" / "arm-twin",
            waiting=lambda: say("Waiting for another azpg command on the ARM twin"),
        )

    def _answer(self) -> dict[str, Any] | None:
        """What the process says about itself, or None when it does not answer."""
        if not self.running():
            return None
        from azpg_runtime.arm.settings import STATUS_PATH  # noqa: PLC0415 - psycopg is not loaded for --help

        context = ssl.create_default_context(cafile=str(self._files.trusted))
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
        )
        try:
            url = f"https://{HOST}:{self._settings().port}{STATUS_PATH}"
            with opener.open(url, timeout=_STATUS_TIMEOUT) as response:
                found: dict[str, Any] = json.load(response)
                return found
        except (OSError, ValueError):
            return None

    def _settings(self) -> Settings:
        from azpg_runtime.arm.settings import Settings  # noqa: PLC0415 - as above

        return Settings.load(self._files.settings)

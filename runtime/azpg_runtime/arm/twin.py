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
from dataclasses import asdict, dataclass, replace
from typing import Any

from azpg.errors import NotAvailable
from azpg_runtime.arm.files import ArmFiles
from azpg_runtime.errors import ArmError, InstanceError
from azpg_runtime.files import make_folder, write_atomically
from azpg_runtime.home import Home
from azpg_runtime.supervision.control import Supervised
from azpg_runtime.wait import wait_for

HOST = "127.0.0.1"
AZURE_NAMES = (
    "management.azure.com",
    "login.microsoftonline.com",
    "login.microsoft.com",
    "login.windows.net",
)
"""What the twin answers to, for programs that reach it through the proxy."""
STATUS_PATH = "/azpg/status"
_START_TIMEOUT, _STATUS_TIMEOUT = 30.0, 5.0
_NEEDED = (
    "azure.mgmt.cognitiveservices",
    "azure.mgmt.postgresqlflexibleservers",
    "pydantic",
    "starlette",
    "uvicorn",
)

Say = Callable[[str], None]


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
        self._supervised = Supervised("ARM twin", lock=self._files.lock, log=self._files.log)

    @property
    def files(self) -> ArmFiles:
        """Where it keeps its files."""
        return self._files

    def running(self) -> bool:
        """Whether it runs, though perhaps without an answer."""
        return self._supervised.running()

    def start(self, *, port: int | None = None, profile: str | None = None) -> bool:
        """Starts the twin unless it runs.

        Args:
            port: a TCP port on 127.0.0.1; None for the one it had, or any that is free.
            profile: what the servers it makes offer, from now on; see `azpg.profiles`.

        Returns:
            False if it ran already.

        Raises:
            ArmError: it does not start, or runs on another port or with another profile.
            NotAvailable: the extra [arm] is not installed.
            UsageError: for a profile that there is not.
        """
        check_installed()
        from azpg_runtime.arm.settings import Settings  # noqa: PLC0415
        from azpg_runtime.host.control import rotate  # noqa: PLC0415
        from azpg_runtime.postgres import ports  # noqa: PLC0415
        from azpg_runtime.postgres.lock import locked  # noqa: PLC0415

        self._home.create()
        make_folder(self._files.root, 0o700)
        with locked(self._home.root / "locks" / "arm-twin"):
            kept = Settings.load(self._files.settings)
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
                wanted = replace(wanted, port=ports.choose({wanted.port}))
            wanted.save(self._files.settings)
            self._certify()
            rotate(self._files.log)
            try:
                self._supervised.launch(
                    *("--port", str(wanted.port)),
                    module="azpg_runtime.arm",
                    arguments=["--home", str(self._home.root)],
                )
            except InstanceError as error:
                raise ArmError(error.message, detail=error.detail, hint=error.hint) from None
            self._wait_until_ready()
            return True

    def stop(self, *, delete: bool = False) -> bool:
        """Stops the twin; the servers that it made go on. Returns False if it did not run.

        Args:
            delete: also removes those servers and everything that the twin remembers, for good.
        """
        ran = self.running()
        self._supervised.stop()
        if delete:
            from azpg_runtime.postgres.instance import Instance  # noqa: PLC0415

            for name in self.servers():
                Instance(name, home=self._home).down(delete=True)
            shutil.rmtree(self._files.root, ignore_errors=True)
        return ran

    def status(self) -> ArmStatus:
        """How the twin is."""
        settings = self._settings()
        running, answer = self.running(), self._answer()
        ids = self._ids()
        return ArmStatus(
            state=("running" if answer else "silent") if running else "stopped",
            endpoint=f"https://{HOST}:{settings['port']}" if running else None,
            pid=answer["pid"] if answer else None,
            profile=settings["profile"],
            subscription_id=ids.get("subscription"),
            tenant_id=ids.get("tenant"),
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
        trusted = str(self._files.trusted)
        return {
            "AZPG_ARM_ENDPOINT": status.endpoint,
            "AZURE_SUBSCRIPTION_ID": str(status.subscription_id),
            "AZURE_TENANT_ID": str(status.tenant_id),
            "REQUESTS_CA_BUNDLE": trusted,
            "SSL_CERT_FILE": trusted,
            "NO_PROXY": "127.0.0.1,localhost",
        }

    def servers(self) -> list[str]:
        """The names of the local servers that it made."""
        return [name for name in self._home.instance_names() if self._home.instance(name).resource.is_file()]

    # Steps

    def _certify(self) -> None:
        # Imported here because it takes a tenth of a second, which only a start should cost.
        from azpg_runtime.certificates import LOCAL_NAMES, Authority  # noqa: PLC0415

        # An authority of its own: whoever trusts that of the servers trusts nothing about Azure's names.
        authority = Authority(self._files.ca, domains=("localhost", *AZURE_NAMES))
        authority.certify(
            self._files.certificate, subject="azpg ARM twin", names=(*LOCAL_NAMES, *AZURE_NAMES)
        )
        servers = Authority(self._home.ca)
        servers.certificate()
        write_atomically(self._files.trusted, authority.path.read_text() + servers.path.read_text())

    def _wait_until_ready(self) -> None:
        began = self._log_size()
        if (
            wait_for(lambda: self._answer() is not None or not self.running(), timeout=_START_TIMEOUT)
            and self.running()
        ):
            return
        self._supervised.stop()
        said = [line for line in self._supervised.said() if line.startswith("arm: ")]
        raise ArmError(
            "the ARM twin does not start.",
            detail=said[-1].removeprefix("arm: ") if said and began >= 0 else "",
            hint=f"See {self._files.log}.",
        )

    def _log_size(self) -> int:
        return self._files.log.stat().st_size

    def _answer(self) -> dict[str, Any] | None:
        """What the process says about itself, or None when it does not answer."""
        if not self.running():
            return None
        context = ssl.create_default_context(cafile=str(self._files.ca / "ca.crt"))
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
        )
        try:
            url = f"https://{HOST}:{self._settings()['port']}{STATUS_PATH}"
            with opener.open(url, timeout=_STATUS_TIMEOUT) as response:
                found: dict[str, Any] = json.load(response)
                return found
        except (OSError, ValueError):
            return None

    def _settings(self) -> dict[str, Any]:
        try:
            found: dict[str, Any] = json.loads(self._files.settings.read_text())
        except FileNotFoundError:
            return {"port": 0, "profile": "preview-2024"}
        return found

    def _ids(self) -> dict[str, str]:
        if not self._files.state.exists():
            return {}
        import sqlite3  # noqa: PLC0415

        with sqlite3.connect(f"file:{self._files.state}?mode=ro", uri=True) as connection:
            return dict(connection.execute("SELECT name, value FROM facts").fetchall())


def check_installed() -> None:
    """Raises `NotAvailable` where the extra [arm] is not installed."""
    from importlib.util import find_spec  # noqa: PLC0415

    for module in _NEEDED:
        try:
            missing = find_spec(module) is None
        except ModuleNotFoundError:
            missing = True
        if missing:
            raise NotAvailable("the ARM twin needs what the extra [arm] brings: pip install 'azpg[arm]'.")

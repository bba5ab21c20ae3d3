"""The ARM twin's process, and programs that know nothing of it."""

from __future__ import annotations

import json
import os
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from azpg_runtime.arm.identity.identities import Identities
from azpg_runtime.arm.identity.service import IdentityService
from azpg_runtime.arm.identity.tokens import Issuer
from azpg_runtime.arm.twin import ArmTwin
from azpg_runtime.home import Home
from tests.conftest import new_home, remove_home

PATIENCE = 60
FORM = "application/x-www-form-urlencoded"


@dataclass(frozen=True)
class Service:
    """The twin's process, seen from where it keeps its identities."""

    home: Home
    twin: ArmTwin
    identities: Identities
    issuer: Issuer

    @cached_property
    def environment(self) -> dict[str, str]:
        return self.twin.environment()

    def run(self, program: str, **variables: str) -> Any:
        """What a Python program prints as JSON, in an environment without anything of the test's own."""
        done = self.attempt(program, **variables)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def attempt(self, program: str, **variables: str) -> subprocess.CompletedProcess[str]:
        clean = {"PATH": os.environ["PATH"], "HOME": str(self.home.root)}
        return subprocess.run(
            [sys.executable, "-W", "error::ResourceWarning", "-c", program],
            check=False,
            env=clean | self.environment | variables,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )

    def ask(
        self, path: str, body: str | None = None, *, content_type: str = FORM, **headers: str
    ) -> tuple[int, Any]:
        """Status and body of one request, as a program without any SDK sends it."""
        request = urllib.request.Request(
            self.environment["AZPG_ARM_ENDPOINT"] + path,
            data=None if body is None else body.encode(),
            headers={name.replace("_", "-"): value for name, value in headers.items()}
            | ({} if body is None else {"Content-Type": content_type}),
        )
        context = ssl.create_default_context(cafile=self.environment["SSL_CERT_FILE"])
        opener = urllib.request.build_opener(
            urllib.request.HTTPSHandler(context=context), urllib.request.ProxyHandler({})
        )
        try:
            with opener.open(request, timeout=PATIENCE) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)


@contextmanager
def running_service() -> Iterator[Service]:
    """A twin in a home of its own; afterwards nothing is left of either."""
    home = new_home()
    found, twin = IdentityService(home), ArmTwin(home)
    try:
        twin.start()
        yield Service(home, twin, found.identities, found.issuer)
    finally:
        twin.stop()
        remove_home(home)

"""Pulumi's language host for Python, as far as the end-to-end tests need it: it runs programs.

People who install Pulumi have the vendor's own host. The tests build the command line from Go modules, and
the vendor's host is not to be had as one, so this stands in for it, over the stubs in the pulumi wheel. It
starts a program with the interpreter of the project's virtual environment and reports how it ended.

Usage: language_host.py [flags] ENGINE-ADDRESS; the first line on the standard output is the port.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import FrameType
from typing import Any

import grpc
from google.protobuf.empty_pb2 import Empty
from pulumi.runtime.proto import language_pb2, language_pb2_grpc, plugin_pb2
from run_program import SHOWN

EXECUTOR = Path(__file__).with_name("run_program.py")


class LanguageHost(language_pb2_grpc.LanguageRuntimeServicer):
    """Runs one program at a time, for the engine at an address."""

    def __init__(self, engine: str) -> None:
        self._engine = engine
        self._program: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def GetPluginInfo(self, request: Empty, context: grpc.ServicerContext) -> plugin_pb2.PluginInfo:
        return plugin_pb2.PluginInfo(version="3.0.0")

    def GetRequiredPackages(
        self, request: language_pb2.GetRequiredPackagesRequest, context: grpc.ServicerContext
    ) -> language_pb2.GetRequiredPackagesResponse:
        """None in advance: a provider is looked for when the first resource needs it."""
        return language_pb2.GetRequiredPackagesResponse()

    def InstallDependencies(
        self, request: language_pb2.InstallDependenciesRequest, context: grpc.ServicerContext
    ) -> Any:
        """Nothing: `make` has installed them."""
        return iter(())

    def About(
        self, request: language_pb2.AboutRequest, context: grpc.ServicerContext
    ) -> language_pb2.AboutResponse:
        return language_pb2.AboutResponse(executable=sys.executable, version=sys.version.split()[0])

    def Run(
        self, request: language_pb2.RunRequest, context: grpc.ServicerContext
    ) -> language_pb2.RunResponse:
        command = [
            interpreter(request.info),
            "-u",
            str(EXECUTOR),
            f"--project={request.project}",
            f"--stack={request.stack}",
            f"--organization={request.organization}",
            f"--root_directory={request.info.root_directory}",
            f"--monitor={request.monitor_address}",
            f"--engine={self._engine}",
            f"--parallel={request.parallel}",
            f"--dry_run={str(request.dryRun).lower()}",
            str(Path(request.info.program_directory) / request.info.entry_point),
            *request.args,
        ]
        environment = dict(os.environ)
        # Configuration may be secret: it goes where other users do not see it.
        environment["PULUMI_CONFIG"] = json.dumps(dict(request.config))
        environment["PULUMI_CONFIG_SECRET_KEYS"] = json.dumps(list(request.configSecretKeys))
        with self._lock:
            self._program = subprocess.Popen(command, cwd=request.pwd, env=environment)
        code = self._program.wait()
        if code == 0:
            return language_pb2.RunResponse()
        if code == SHOWN:
            return language_pb2.RunResponse(bail=True)
        return language_pb2.RunResponse(error=f"the program exited with code {code}")

    def RunPlugin(
        self, request: language_pb2.RunPluginRequest, context: grpc.ServicerContext
    ) -> Iterator[language_pb2.RunPluginResponse]:
        """A policy pack: runs it, and passes on what it prints, the port that it listens on first."""
        plugin = subprocess.Popen(
            [interpreter(request.info), "-u", request.info.program_directory, *request.args],
            cwd=request.pwd,
            env={**os.environ, **dict(entry.split("=", 1) for entry in request.env)},
            stdout=subprocess.PIPE,
        )
        # The engine goes without a word once it needs it no longer.
        context.add_callback(plugin.terminate)
        assert plugin.stdout is not None
        for line in plugin.stdout:
            yield language_pb2.RunPluginResponse(stdout=line)
        yield language_pb2.RunPluginResponse(exitcode=plugin.wait())

    def Cancel(self, request: Empty, context: grpc.ServicerContext) -> Empty:
        self.stop()
        return Empty()

    def stop(self) -> None:
        """Ends the program, if one runs."""
        with self._lock:
            if self._program is not None and self._program.poll() is None:
                self._program.terminate()


def interpreter(info: language_pb2.ProgramInfo) -> str:
    """The Python of the project's virtual environment (`runtime.options.virtualenv`), or this one."""
    fields = info.options.fields
    if "virtualenv" not in fields:
        return sys.executable
    return str(Path(info.root_directory) / fields["virtualenv"].string_value / "bin" / "python")


def main() -> None:
    """Serves until the engine ends this process."""
    host = LanguageHost(sys.argv[-1])
    server = grpc.server(ThreadPoolExecutor(8), options=[("grpc.max_receive_message_length", 400 << 20)])
    language_pb2_grpc.add_LanguageRuntimeServicer_to_server(host, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()

    def end(number: int, frame: FrameType | None) -> None:
        host.stop()
        server.stop(0)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    threading.Thread(target=_end_with, args=(os.pidfd_open(os.getppid()),), daemon=True).start()
    print(port, flush=True)
    server.wait_for_termination()


def _end_with(engine: int) -> None:
    """Ends this process when the engine's, which may be killed without a word, has ended."""
    select.select([engine], [], [])
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()

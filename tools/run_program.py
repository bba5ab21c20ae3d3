"""Runs one Pulumi program for `language_host.py`, in the interpreter of the program's own environment."""

from __future__ import annotations

import argparse
import asyncio
import logging
import runpy
import sys
import traceback
from pathlib import Path

SHOWN = 32
"""Exit code: what went wrong has been said to the engine."""


def arguments() -> argparse.Namespace:
    """What the language host passes."""
    parser = argparse.ArgumentParser()
    for name in ("project", "stack", "organization", "root_directory", "monitor", "engine"):
        parser.add_argument(f"--{name}")
    parser.add_argument("--parallel", type=int)
    parser.add_argument("--dry_run", type=lambda text: text == "true")
    parser.add_argument("program")
    parser.add_argument("args", nargs="*")
    return parser.parse_args()


def main() -> int:
    """Runs the program as `python PROGRAM` would, with resources registered at the engine."""
    options = arguments()
    try:
        import pulumi  # noqa: PLC0415
        from pulumi import runtime  # noqa: PLC0415
    except ImportError as error:
        print(
            f"{sys.executable} lacks the Pulumi SDK ({error}): install azpg with its extra [pulumi]",
            file=sys.stderr,
        )
        return 1
    runtime.set_all_config(runtime.get_config_env(), runtime.get_config_secret_keys_env())
    runtime.configure(
        runtime.Settings(
            project=options.project,
            stack=options.stack,
            organization=options.organization,
            root_directory=options.root_directory,
            monitor=options.monitor,
            engine=options.engine,
            parallel=options.parallel,
            dry_run=options.dry_run,
        )
    )
    sys.argv = [options.program, *options.args]
    if not Path(options.program).is_dir():  # of which runpy takes care
        sys.path.insert(0, str(Path(options.program).parent))
    # A program that fails leaves futures that nobody awaits; they are not the user's concern.
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)

    def run() -> None:
        runpy.run_path(options.program, run_name="__main__")

    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    try:
        loop.run_until_complete(runtime.run_in_stack(run))
    except pulumi.RunError as error:
        pulumi.log.error(str(error))
    except Exception:
        pulumi.log.error(f"Program failed with an unhandled exception:\n{traceback.format_exc()}")
    else:
        return 0
    finally:
        loop.close()
    return SHOWN


if __name__ == "__main__":
    sys.exit(main())

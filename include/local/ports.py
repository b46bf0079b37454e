"""The ports of the local stack: the usual ones, or free ones where those are taken."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

HOST = "127.0.0.1"
ANY = 0

DEFAULTS = {
    "airflow": 8080,
    "s3": 8333,
    "documentdb": 27017,
    "rekognition": 8340,
    # Only where Airflow runs on several machines.
    "postgresql": ANY,
    "redis": ANY,
    # SeaweedFS's own parts speak to each other over these; nobody else does.
    "seaweedfs_s3_grpc": ANY,
    "seaweedfs_master": ANY,
    "seaweedfs_master_grpc": ANY,
    "seaweedfs_volume": ANY,
    "seaweedfs_volume_grpc": ANY,
    "seaweedfs_filer": ANY,
    "seaweedfs_filer_grpc": ANY,
    "seaweedfs_admin": ANY,
    "seaweedfs_admin_grpc": ANY,
}
"""Names of the ports and their usual numbers; ``ANY`` for one that may be any free one."""

FREE = range(10_000, 27_000)
"""Where free ones are looked for: below those that systems give to outgoing connections, which would take a port
between the look and the server's start."""


class PortTaken(Exception):
    """A port that was asked for belongs to another program."""


def variable(name: str) -> str:
    """Return the environment variable that chooses a port, such as ``AIRFLOW_PORT``."""
    return f"{name.upper()}_PORT"


def chosen(environment: Mapping[str, str]) -> dict[str, int]:
    """Return the ports that the environment chooses.

    :raises PortTaken: one of them is not a port number
    """
    ports = {}
    for name in DEFAULTS:
        if text := environment.get(variable(name), ""):
            if not text.isdecimal() or int(text) > 65535:
                raise PortTaken(f"{variable(name)}={text} is not a port: give a number from 0 (any free one) to 65535")
            ports[name] = int(text)
    return ports


def settle(file: Path, wanted: Mapping[str, int], ours: Collection[int], say: Callable[[str], None]) -> dict[str, int]:
    """Decide on every port and remember the decision.

    :param file: where the ports of the last time are remembered
    :param wanted: ports that must be as given; ``ANY`` for any free one
    :param ours: ports that servers of this stack listen on at the moment
    :param say: is told of a usual port that was taken
    :raises PortTaken: a wanted port belongs to another program
    """
    before: dict[str, int] = json.loads(file.read_text()) if file.is_file() else {}
    ports: dict[str, int] = {}
    for name, default in DEFAULTS.items():
        port = wanted.get(name) or before.get(name) or wanted.get(name, default)
        if port and (port in ours or is_free(port)):
            ports[name] = port
            continue
        if wanted.get(name):
            raise PortTaken(
                f"Port {port} is taken by another program. {variable(name)} asked for it: choose another, or leave "
                f"{variable(name)} out to get a free one"
            )
        ports[name] = free_port({*ports.values(), *before.values(), *wanted.values()})
        if port:
            say(f"Port {port} is taken: {name} gets {ports[name]} instead ({variable(name)}=... chooses another)")
    file.write_text(json.dumps(ports, indent=2) + "\n")
    return ports


def is_free(port: int) -> bool:
    """Tell whether a server could listen on the port."""
    with socket.socket() as probe:
        # Connections of an earlier server that are still being closed do not stand in the way of the next.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def free_port(taken: Collection[int]) -> int:
    """Return a port that a server may have which is started soon.

    :param taken: ports that are promised to others
    :raises PortTaken: there is none
    """
    # Processes that look at the same time begin in different places, as a rule, with room for several stacks.
    first = os.getpid() * 8 * len(DEFAULTS)
    for number in range(len(FREE)):
        port = FREE[(first + number) % len(FREE)]
        if port not in taken and is_free(port):
            return port
    raise PortTaken(f"Every port from {FREE[0]} to {FREE[-1]} is taken")

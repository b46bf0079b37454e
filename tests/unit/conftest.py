from __future__ import annotations

import pytest
from pytest_socket import disable_socket


@pytest.fixture(autouse=True)
def no_sockets() -> None:
    """A unit test that needs the network is none; the event loops of asyncio speak to themselves over Unix sockets."""
    disable_socket(allow_unix_socket=True)

"""Ports of this machine."""

import socket


def try_port(host: str, port: int) -> None:
    """Check that a program could listen at an address, before it does slow work.

    Raises:
        OSError: the port is taken or may not be used, or the address is not one of this machine.
        OverflowError: there is no such port.
    """
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections of a program that has ended may linger
        trial.bind((host, port))

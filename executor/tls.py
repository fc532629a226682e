"""TLS to the controller, with this host's certificate: who has it is the host that it names."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from executor.config import Config


def wrapper(config: Config) -> Callable[[socket.socket], socket.socket] | None:
    """What wraps a connected socket to `heartbeat.addr`; None where `heartbeat.tls` is not set."""
    if not config["heartbeat.tls.authority"]:
        return None
    host = config["heartbeat.addr"].rpartition(":")[0].strip("[]")

    def wrap(connection: socket.socket) -> socket.socket:
        # Here, not above: it costs memory. Anew for each connection: certificates are renewed.
        import ssl

        context = ssl.create_default_context(cafile=config["heartbeat.tls.authority"])
        if config["heartbeat.tls.certificate"]:
            context.load_cert_chain(
                config["heartbeat.tls.certificate"], config["heartbeat.tls.key"] or None
            )
        host.encode("idna")  # ssl does the same, and where it fails, leaves its socket open
        return context.wrap_socket(connection, server_hostname=host, do_handshake_on_connect=False)

    return wrap

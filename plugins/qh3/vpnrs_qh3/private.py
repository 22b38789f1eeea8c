"""Every name of qh3 that is not public and that the adapter uses, checked in the installed version."""

from __future__ import annotations

import inspect
import logging
from functools import cache
from importlib.metadata import version
from typing import Any

from packaging.specifiers import SpecifierSet
from qh3._hazmat import QuicConnectionCore
from qh3.quic.configuration import QuicConfiguration
from qh3.quic.connection import QuicConnection
from qh3.quic.packet import QuicTransportParameters
from qh3.quic.tls_bridge import QuicTlsBridge

from vpnrs_core.errors import PluginError

# The range of pyproject.toml: a version that was installed past pip is found here.
VERSIONS = SpecifierSet(">=2.1,<2.2")
# Without these the adapter works by public calls alone, at less than two thirds of the speed.
CORE = (
    "active_path",
    "bytes_in_flight",
    "congestion_window",
    "get_send_buffer_size",
    "get_timer",
    "handle_timer",
    "handshake_confirmed",
    "has_events",
    "loss_total",
    "next_event",
    "poll_transmit",
    "receive_datagram",
    "receive_gro_buffer",
    "send_datagram",
    "send_ping",
    "smoothed_rtt",
    "version",
)
CONNECTION = (
    "_close_event",
    "_core",
    "_created_local_stream_ids",
    "_handshake_confirmed",
    "_remote_max_datagram_frame_size",
    "_tls",
)
METHODS = ("_call_core", "_drain_core", "_drain_tls", "_open_stream")
PARAMETERS = ("max_udp_payload_size",)
BRIDGE = ("receive_crypto",)

# qh3 warns of each close by a peer.
logging.getLogger("quic").setLevel(logging.ERROR)


@cache
def check() -> bool:
    """Whether the native core can be driven directly. Raises PluginError for a qh3 outside the range."""
    installed = version("qh3")
    if installed not in VERSIONS:
        raise PluginError(
            f"qh3 {installed} is not one that this version of vpnrs-qh3 knows ({VERSIONS}). Run "
            '`pip install "qh3>=2.1,<2.2"`, or leave the plugin qh3 out.'
        )
    return not missing()


def missing() -> list[str]:
    """Names that the direct way needs and that the installed qh3 does not have."""
    probe: Any = QuicConnection(configuration=QuicConfiguration(is_client=True))
    lacking = [f"QuicConnectionCore.{name}" for name in CORE if not hasattr(QuicConnectionCore, name)]
    lacking += [f"QuicConnection.{name}" for name in CONNECTION if not hasattr(probe, name)]
    lacking += [f"QuicConnection.{name}" for name in METHODS if not hasattr(QuicConnection, name)]
    known = inspect.signature(QuicTransportParameters).parameters
    lacking += [f"QuicTransportParameters.{name}" for name in PARAMETERS if name not in known]
    lacking += [f"QuicTlsBridge.{name}" for name in BRIDGE if not hasattr(QuicTlsBridge, name)]
    return lacking


class ServerConnection(QuicConnection):
    """A server's connection that credits a client with the zeros by which its first datagrams are padded.

    qh3 hands each packet of a datagram to its core alone, and counts towards the limit before address validation
    (RFC 9000 section 8.1) only packets that it can open. A client that pads behind its packet, as aioquic does, would
    be answered in part, and again only after its probe timeout."""

    _datagram = b""

    def receive_datagram(self, data: bytes, addr: Any, now: float) -> None:
        self._datagram = data
        try:
            super().receive_datagram(data, addr, now)
        finally:
            self._datagram = b""

    def _call_core(self, operation: Any, *args: Any) -> Any:
        whole = self._datagram
        if whole and args and isinstance(args[0], bytes) and operation.__name__ == "receive_datagram":
            packet = args[0]
            # Only zeros follow: the core skips them, and sees how large the datagram was.
            if len(packet) < len(whole) and whole.startswith(packet) and not whole[len(packet) :].strip(b"\0"):
                args = (whole, *args[1:])
        return super()._call_core(operation, *args)

"""qh3 as a QUIC engine: its configuration, made once for a server."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import ClassVar

from qh3.quic.configuration import QuicConfiguration
from qh3.quic.connection import QuicConnection
from qh3.quic.packet import QuicProtocolVersion
from qh3.tls import CipherSuite, load_pem_private_key, load_pem_x509_certificates

from vpnrs_core.errors import ConfigError
from vpnrs_core.interfaces.engine import QuicSettings
from vpnrs_qh3.connection import Qh3Connection
from vpnrs_qh3.private import ServerConnection, check

# A capsule of 16 KiB and a lane of 64 KiB super-packets fit; both grow with use.
_FLOW_WINDOW = 1 << 20
_LARGEST_DATAGRAM_FRAME = 65535
_HANDSHAKE = 1280
_LONGER_IDS = 26
_AES = [CipherSuite.AES_128_GCM_SHA256, CipherSuite.AES_256_GCM_SHA384]
_CHACHA = [CipherSuite.CHACHA20_POLY1305_SHA256]


class Qh3Engine:
    """Raises PluginError when the installed qh3 is not one that it knows."""

    NAME: ClassVar[str] = "qh3"
    PREFERENCE: ClassVar[int] = 50

    def __init__(self, *, direct: bool = True) -> None:
        """`direct` False keeps to qh3's public calls."""
        self._direct = check() and direct
        self._ciphers = _AES + _CHACHA if has_aes() else _CHACHA + _AES
        self._configurations: dict[int, tuple[QuicSettings, QuicConfiguration]] = {}

    def client(self, settings: QuicSettings) -> Qh3Connection:
        connection = QuicConnection(configuration=self._configuration(settings))
        return Qh3Connection(connection, settings, direct=self._direct)

    def server(
        self, settings: QuicSettings, original_destination_id: bytes, retry_source_id: bytes | None
    ) -> Qh3Connection:
        connection = ServerConnection(
            configuration=self._shared(settings),
            original_destination_connection_id=original_destination_id,
            retry_source_connection_id=retry_source_id,
        )
        first_id = retry_source_id or original_destination_id
        return Qh3Connection(connection, settings, direct=self._direct, first_id=first_id)

    def _shared(self, settings: QuicSettings) -> QuicConfiguration:
        """Parsing a key costs as much as a handshake, so a server's configuration is made once."""
        known = self._configurations.get(id(settings))
        if known is None:
            known = self._configurations[id(settings)] = (settings, self._configuration(settings))
        return known[1]

    def _size(self, settings: QuicSettings) -> int:
        """A core can be made smaller, never larger, and shakes hands with 1280 bytes where it may ever send more. By
        public calls it cannot be made smaller either."""
        size = settings.max_udp_payload
        if settings.handshake_udp_payload < _HANDSHAKE:
            size = min(size, settings.handshake_udp_payload)
        # By public calls the connection ids' lengths are not known, and the longest must fit.
        return size if self._direct else min(size, (settings.start_udp_payload or size) + _LONGER_IDS)

    def _configuration(self, settings: QuicSettings) -> QuicConfiguration:
        configuration = QuicConfiguration(
            is_client=settings.is_client,
            alpn_protocols=list(settings.alpns),
            cipher_suites=self._ciphers,
            idle_timeout=settings.idle_timeout,
            max_data=_FLOW_WINDOW,
            max_stream_data=_FLOW_WINDOW,
            max_datagram_size=self._size(settings),
            max_datagram_frame_size=_LARGEST_DATAGRAM_FRAME,
            # The path is probed above the engines, for both alike; qh3 would on one side only.
            probe_datagram_size=False,
            server_name=settings.server_name,
            supported_versions=[QuicProtocolVersion.VERSION_1],
        )
        if settings.certificate is not None and settings.key is not None:
            chain = load_pem_x509_certificates(settings.certificate.strip() + b"\n")
            configuration.certificate, configuration.certificate_chain = chain[0], chain[1:]
            configuration.private_key = load_pem_private_key(settings.key)
        if settings.is_client:
            _verify(configuration, settings)
        return configuration


def _verify(configuration: QuicConfiguration, settings: QuicSettings) -> None:
    """Pin: qh3 still checks that the server holds the certificate's key; the transport compares the key."""
    if settings.verify == "pin":
        configuration.verify_mode = ssl.CERT_NONE
        return
    configuration.verify_mode = ssl.CERT_REQUIRED
    if settings.ca is not None:
        configuration.cadata = settings.ca.strip() + b"\n"  # the parser wants the last line ended
        return
    system = ssl.get_default_verify_paths()
    if system.cafile is None and system.capath is None:
        raise ConfigError('ca = "system": this host has no trust store. Install ca-certificates, or name a PEM file.')
    # Both hold the same certificates on most hosts, and qh3 reads all of what it is given for each connection.
    configuration.cafile = system.cafile
    configuration.capath = system.capath if system.cafile is None else None


def has_aes(cpuinfo: str | None = None) -> bool:
    """Whether the CPU has AES instructions; without them ChaCha20 is the faster cipher. Unknown counts as yes."""
    if cpuinfo is None:
        try:
            cpuinfo = Path("/proc/cpuinfo").read_text(errors="replace")
        except OSError:
            return True
    features = [
        line.partition(":")[2].split() for line in cpuinfo.splitlines() if line.startswith(("flags", "Features"))
    ]
    return not features or "aes" in features[0]

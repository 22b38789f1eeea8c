"""The control messages of `vpnrs/1`: strict models of their JSON bodies, and the way to capsules and back.

Unknown keys are ignored in every body. That is safe because a key that a receiver must understand comes with a new
version number in HELLO, never alone. Known keys are strict: no conversion, bounded sizes.
"""

from __future__ import annotations

import base64
import binascii
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from math import isfinite
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, ValidationError

from vpnrs_core.errors import PeerError
from vpnrs_core.interfaces.common import Address
from vpnrs_core.wire.addresses import (
    AddressAssign,
    AddressRequest,
    RouteAdvertisement,
    decode_address_assign,
    decode_address_request,
    decode_route_advertisement,
    encode_prefixes,
    encode_routes,
)
from vpnrs_core.wire.capsule import encode_capsule
from vpnrs_core.wire.codepoints import MAX_CONTROL_VALUE, CapsuleType

NONCE_LENGTH = 32
PROOF_LENGTH = 32
SECRET_LENGTH = 32


def _from_base64(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("not base64") from None


def _no_scope(address: Address) -> Address:
    if isinstance(address, IPv6Address) and address.scope_id is not None:
        raise ValueError("an address without a zone is needed")
    return address


def _finite(value: Any) -> Any:
    """Free-form JSON without NaN and infinities, which JSON cannot say and another parser would not take."""
    if isinstance(value, float) and not isfinite(value):
        raise ValueError("not a finite number")
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ():
        _finite(part)
    return value


Base64 = Annotated[
    bytes, BeforeValidator(_from_base64), PlainSerializer(lambda b: base64.b64encode(b).decode("ascii"), str)
]
Nonce = Annotated[Base64, Field(min_length=NONCE_LENGTH, max_length=NONCE_LENGTH)]
Name = Annotated[str, Field(min_length=1, max_length=64)]
Text = Annotated[str, Field(max_length=512)]
IPAddress = Annotated[IPv4Address | IPv6Address, AfterValidator(_no_scope)]
IPNetwork = IPv4Network | IPv6Network
FreeForm = Annotated[dict[str, Any], AfterValidator(_finite)]
Names = Annotated[list[Name], Field(max_length=32)]
Count = Annotated[int, Field(ge=0, le=(1 << 53) - 1)]
SecondsField = Annotated[float, Field(ge=0, le=1e12, allow_inf_nan=False)]


class Message(BaseModel):
    """Base of the JSON bodies. What a body contains never appears in an error text."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore", hide_input_in_errors=True)


class ResumeWish(Message):
    """Asks to take up a session again; the proof follows in AUTH, when the server's nonce is known."""

    session: Name
    generation: Count
    mode: Literal["replace", "add"] = "replace"


class Hello(Message):
    """client → server, first. `credential`: {"bearer": token}, {} for the connection's own key, or the method's own
    body. `wanted`: one network for each address family that the client can use."""

    versions: Annotated[list[Count], Field(min_length=1, max_length=16)]
    method: Name
    nonce: Nonce
    credential: FreeForm = Field(default_factory=dict, repr=False)
    codecs: Names = Field(default_factory=lambda: ["plain"])
    offloads: Names = Field(default_factory=list)
    mtu: Annotated[int, Field(ge=576, le=65_535)] | None = None
    lane: Literal["datagram", "stream"] = "datagram"
    wanted: Annotated[list[IPNetwork], Field(max_length=16)] = Field(default_factory=list)
    resume: ResumeWish | None = None
    plugins: Annotated[dict[Name, Name], Field(max_length=64)] = Field(default_factory=dict)


class ChallengeMessage(Message):
    """server → client. `about` says who answers: the resume proof, or the authentication method with `body`. The
    nonce is the same in every CHALLENGE of a connection."""

    nonce: Nonce
    about: Literal["resume", "method"]
    body: FreeForm = Field(default_factory=dict, repr=False)


class Auth(Message):
    """client → server, one for each CHALLENGE: `proof` for a resume, `body` for a method."""

    proof: Annotated[Base64, Field(min_length=PROOF_LENGTH, max_length=PROOF_LENGTH)] | None = Field(
        default=None, repr=False
    )
    body: FreeForm = Field(default_factory=dict, repr=False)


class RateField(Message):
    bits_per_second: Annotated[int, Field(gt=0, le=10**15)]
    burst_bytes: Annotated[int, Field(gt=0, le=10**12)]


class Terms(Message):
    """What UPDATE may change. `pools`: the networks that the client's addresses are of; `underlay`: the server's own
    addresses, never to be routed into the tunnel; `expires`: POSIX seconds."""

    mtu: Annotated[int, Field(ge=576, le=65_535)]
    dns: Annotated[list[IPAddress], Field(max_length=16)] = Field(default_factory=list)
    up: RateField | None = None
    down: RateField | None = None
    expires: SecondsField | None = None
    pools: Annotated[list[IPNetwork], Field(max_length=16)] = Field(default_factory=list)
    server_addresses: Annotated[list[IPAddress], Field(max_length=16)] = Field(default_factory=list)
    underlay: Annotated[list[Annotated[str, Field(max_length=128)]], Field(max_length=32)] = Field(default_factory=list)
    facts: Annotated[dict[Name, Any], Field(max_length=64), AfterValidator(_finite)] = Field(default_factory=dict)


class Ticket(Message):
    """What the client may resume with, once."""

    secret: Annotated[Base64, Field(min_length=SECRET_LENGTH, max_length=SECRET_LENGTH)] = Field(repr=False)
    generation: Count


class Welcome(Message):
    """server → client: the session is granted. One ADDRESS_ASSIGN and one ROUTE_ADVERTISEMENT follow."""

    version: Literal[1]
    session: Name
    principal: Annotated[str, Field(max_length=256)]
    lane: Literal["datagram", "stream"]
    codecs: Annotated[dict[Name, Annotated[int, Field(ge=0, le=(1 << 30) - 1)]], Field(min_length=1, max_length=32)]
    offloads: Names = Field(default_factory=list)
    resumed: bool = False
    resume: Ticket | None = None
    terms: Terms


class RejectMessage(Message):
    """server → client instead of WELCOME. `retry` holds for codes that the client does not know, too."""

    code: Name
    retry: Literal["final", "retry"]
    retry_after: SecondsField | None = None
    text: Text = ""


class Close(Message):
    """Either side, last. No code is the client's goodbye: its leases are free at once."""

    code: Name | None = None
    retry: Literal["final", "retry"] = "retry"
    retry_after: SecondsField | None = None
    text: Text = ""


class Ping(Message):
    id: Count


class Pong(Message):
    """Answers the PING of the same id."""

    id: Count


class Update(Message):
    """server → client: replaces the terms as a whole, and puts the newest addresses and routes into effect."""

    terms: Terms


class Ext(Message):
    """A codec's own message."""

    codec: Name
    body: Base64 = Field(repr=False)


MODELS: dict[int, type[Message]] = {
    CapsuleType.HELLO: Hello,
    CapsuleType.CHALLENGE: ChallengeMessage,
    CapsuleType.AUTH: Auth,
    CapsuleType.WELCOME: Welcome,
    CapsuleType.REJECT: RejectMessage,
    CapsuleType.PING: Ping,
    CapsuleType.PONG: Pong,
    CapsuleType.UPDATE: Update,
    CapsuleType.CLOSE: Close,
    CapsuleType.EXT: Ext,
}
KINDS = {model: CapsuleType(kind) for kind, model in MODELS.items()}
Control = Message | AddressAssign | AddressRequest | RouteAdvertisement


_ALL_MODELS: list[type[Message]] = [*KINDS, Terms, RateField, ResumeWish, Ticket]
_FIELD_NAMES = frozenset(name for model in _ALL_MODELS for name in model.model_fields)


class _Versions(Message):
    versions: Annotated[list[Count], Field(max_length=16)]


def offered_versions(value: bytes) -> list[int]:
    """HELLO's `versions`, looked at before anything else in it: the rest may be of a version we do not know.
    Raises PeerError."""
    return _parse(_Versions, value, "HELLO").versions


def encode_message(message: Control) -> bytes:
    """A whole capsule. Raises ValueError for a value over the limit, which a receiver would refuse."""
    if isinstance(message, AddressAssign):
        kind, value = CapsuleType.ADDRESS_ASSIGN, encode_prefixes(message.entries)
    elif isinstance(message, AddressRequest):
        kind, value = CapsuleType.ADDRESS_REQUEST, encode_prefixes(message.entries)
    elif isinstance(message, RouteAdvertisement):
        kind, value = CapsuleType.ROUTE_ADVERTISEMENT, encode_routes(message.ranges)
    else:
        kind = KINDS[type(message)]
        value = message.model_dump_json(exclude_none=True).encode()
    if len(value) > MAX_CONTROL_VALUE:
        raise ValueError(f"{kind.name} has {len(value)} bytes, {MAX_CONTROL_VALUE} are allowed")
    return encode_capsule(kind, value)


def decode_message(kind: int, value: bytes) -> Control:
    """One control capsule's value. Raises PeerError, whose text never contains what the peer sent."""
    if kind == CapsuleType.ADDRESS_ASSIGN:
        return decode_address_assign(value)
    if kind == CapsuleType.ADDRESS_REQUEST:
        return decode_address_request(value)
    if kind == CapsuleType.ROUTE_ADVERTISEMENT:
        return decode_route_advertisement(value)
    model = MODELS.get(kind)
    if model is None:
        raise PeerError(f"capsule 0x{kind:x} is no control message")
    return _parse(model, value, CapsuleType(kind).name)


M = TypeVar("M", bound=Message)


def _parse(model: type[M], value: bytes, name: str) -> M:
    try:
        return model.model_validate_json(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        # Keys of a peer's own dictionaries stand in `loc`: only names that are ours are repeated.
        where = ".".join(str(part) for part in first["loc"] if part in _FIELD_NAMES)
        raise PeerError(f"{name}: {where + ': ' if where else ''}{_reason(first['type'])}") from None


def _reason(kind: str) -> str:
    """pydantic's error type in words; its own text may repeat input."""
    return {"missing": "is missing", "json_invalid": "is not JSON"}.get(kind, f"is not valid ({kind})")

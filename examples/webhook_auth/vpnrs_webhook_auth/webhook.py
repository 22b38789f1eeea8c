"""Asks the web service: one POST, signed, with no redirect followed and no long answer read."""

from __future__ import annotations

import hashlib
import hmac
import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any

MAX_ANSWER = 64 * 1024
REFUSALS = (401, 403)


class WebhookError(Exception):
    """The service did not answer the question. Nothing may be concluded from it."""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        """A token goes where the configuration says, and nowhere else."""


class Webhook:
    def __init__(self, url: str, secret: str, timeout: float) -> None:
        self._url, self._secret, self._timeout = url, secret, timeout
        # No proxy of the environment either.
        self._opener = urllib.request.build_opener(_NoRedirect, urllib.request.ProxyHandler({}))

    def ask(self, question: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """What the service knows, None: it refuses. Blocks; raises WebhookError."""
        body = json.dumps(question).encode()
        headers = {"Content-Type": "application/json"}
        if self._secret:
            signature = hmac.new(self._secret.encode(), body, hashlib.sha256).hexdigest()
            headers["X-Vpnrs-Signature"] = f"sha256={signature}"
        request = urllib.request.Request(self._url, body, headers)
        try:
            with self._opener.open(request, timeout=self._timeout) as answer:
                text = answer.read(MAX_ANSWER + 1)
        except urllib.error.HTTPError as error:
            error.close()
            if error.code in REFUSALS:
                return None
            raise WebhookError(f"the service answered {error.code}") from None
        except OSError as error:
            raise WebhookError(f"the service cannot be asked: {error}") from None
        return parsed(text)


def parsed(text: bytes) -> Mapping[str, Any]:
    try:
        answer = json.loads(text) if len(text) <= MAX_ANSWER else None
    except (ValueError, RecursionError):
        answer = None
    if not isinstance(answer, dict):
        raise WebhookError("the service's answer is no JSON object")
    return answer

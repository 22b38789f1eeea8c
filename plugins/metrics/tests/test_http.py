"""Requests and responses as bytes, and who may ask."""

from http import HTTPStatus

import pytest
from vpnrs_metrics.http import BadRequest, Request, parse, response, verdict

SCRAPE = b"GET /metrics?x=1 HTTP/1.1\r\nHost: a\r\nAccept: text/plain\r\n\r\n"


def test_a_scrape_is_understood():
    assert parse(SCRAPE) == Request("GET", "/metrics", {"host": "a", "accept": "text/plain"})


@pytest.mark.parametrize(
    "head",
    [
        b"\r\n\r\n",
        b"GET /metrics\r\n\r\n",
        b"GET  /metrics HTTP/1.1\r\n\r\n",
        b"GET /metrics HTTP/2\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\n folded: x\r\n\r\n",
        b"POST /metrics HTTP/1.1\r\nContent-Length: 3\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
    ],
)
def test_what_is_no_scrape_is_refused(head):
    with pytest.raises(BadRequest):
        parse(head)


@pytest.mark.parametrize(
    ("request_", "token", "status"),
    [
        (Request("GET", "/metrics"), None, HTTPStatus.OK),
        (Request("HEAD", "/metrics"), None, HTTPStatus.OK),
        (Request("POST", "/metrics"), None, HTTPStatus.METHOD_NOT_ALLOWED),
        (Request("GET", "/"), None, HTTPStatus.NOT_FOUND),
        (Request("GET", "/metrics"), "s3cret", HTTPStatus.UNAUTHORIZED),
        (Request("GET", "/", {"authorization": "Bearer wrong"}), "s3cret", HTTPStatus.UNAUTHORIZED),
        (Request("GET", "/metrics", {"authorization": "Basic s3cret"}), "s3cret", HTTPStatus.UNAUTHORIZED),
        (Request("GET", "/metrics", {"authorization": "Bearer s3cre"}), "s3cret", HTTPStatus.UNAUTHORIZED),
        (Request("GET", "/metrics", {"authorization": "bearer s3cret"}), "s3cret", HTTPStatus.OK),
        (Request("GET", "/metrics", {"authorization": "Bearer s\xe9"}), "s\xe9", HTTPStatus.UNAUTHORIZED),
    ],
)
def test_who_may_ask_for_what(request_, token, status):
    assert verdict(request_, token) is status


def test_a_response_says_how_long_it_is_and_that_it_is_the_last():
    head = response(HTTPStatus.UNAUTHORIZED, b"four").decode()
    assert head.startswith("HTTP/1.1 401 Unauthorized\r\n")
    assert "Content-Length: 4\r\n" in head
    assert "Connection: close\r\n" in head
    assert "WWW-Authenticate: Bearer" in head
    assert head.endswith("\r\n\r\n")

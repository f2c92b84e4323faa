"""What the API's answers save on the way: those that a client has already, and bytes."""

from __future__ import annotations

import re
from typing import Any

from django.http import HttpRequest
from django.middleware.gzip import GZipMiddleware
from django.middleware.http import ConditionalGetMiddleware
from django.utils.cache import patch_vary_headers, set_response_etag

from marketplace import api_versions

# Below it an answer fits one packet as it is, and compressing takes longer than it saves.
_COMPRESSED_FROM = 1_400
# Answers of the API. Pages hold what compression could give away.
_PATHS = ("/v1/",)
_REFUSES_GZIP = re.compile(r"\bgzip\s*;\s*q\s*=\s*0(\.0*)?\s*(,|$)", re.IGNORECASE)


class Conditional(ConditionalGetMiddleware):
    """ETag and If-None-Match (RFC 9110, 8.8.3 and 13.1.2) for what the API shows: 304 if known.

    Whoever keeps an answer asks before using it again, and keeps it for one key and one version
    alone. Each says its version, also where nothing else is left of it.
    """

    def process_response(self, request: HttpRequest, response: Any) -> Any:
        if not request.path.startswith(_PATHS):
            return response
        reads = request.method in {"GET", "HEAD"} and response.status_code == 200
        response.headers.setdefault("Cache-Control", "private, no-cache" if reads else "no-store")
        patch_vary_headers(response, ["Authorization", "Accept", api_versions.HEADER])
        # A refusal, and what a verb answers, is nothing to keep.
        if reads:
            self._tag(request, response)
            response = super().process_response(request, response)
        api_versions.say(request, response)
        return response

    def _tag(self, request: HttpRequest, response: Any) -> None:
        """Name the answer's state: other versions have other names for it, even if it is alike."""
        if request.method != "GET" or response.has_header("ETag") or not self.needs_etag(response):
            return
        set_response_etag(response)
        if response.has_header("ETag"):  # a stream has none
            version = api_versions.of(request)
            response["ETag"] = f'"{version.date}-{response["ETag"].strip(chr(34))}"'


class Compression(GZipMiddleware):
    """gzip (RFC 9110, 8.4.1.3) for what the API says in more than one packet."""

    def process_response(self, request: HttpRequest, response: Any) -> Any:
        if (
            not request.path.startswith(_PATHS)
            or response.streaming
            or len(response.content) < _COMPRESSED_FROM
            or not response.headers.get("Content-Type", "").startswith("application/json")
            or _REFUSES_GZIP.search(request.headers.get("Accept-Encoding", ""))
        ):
            return response
        return super().process_response(request, response)

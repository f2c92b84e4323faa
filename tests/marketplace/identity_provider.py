"""A small OpenID Connect provider on loopback, which signs real ID tokens and can go wrong."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

CLIENT, SECRET = "licet", "a secret of two"


def _key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@dataclass
class Provider:
    """Who signs in there next, and what is wrong with it."""

    url: str = ""
    # What ID tokens say beside what they must.
    person: dict[str, Any] = field(default_factory=dict)
    # Replaces claims of the ID token.
    wrong: dict[str, Any] = field(default_factory=dict)
    algorithm: str = "RS256"
    # Signs instead of the published key.
    signs: Any = None
    # What /userinfo says, where the ID token has no address.
    told: dict[str, Any] = field(default_factory=dict)
    key: rsa.RSAPrivateKey = field(default_factory=_key)
    asked: list[str] = field(default_factory=list)
    challenges: dict[str, str] = field(default_factory=dict)

    def settings(self, *domains: str) -> dict[str, Any]:
        """What LICET_OIDC makes of this provider."""
        app = {
            "provider_id": "acme",
            "name": "Acme",
            "client_id": CLIENT,
            "secret": SECRET,
            "settings": {
                "server_url": self.url,
                "domains": list(domains),
                "origin": self.url,
                "oauth_pkce_enabled": True,
            },
        }
        return {"openid_connect": {"APPS": [app]}}

    def authorize(self, url: str) -> str:
        """What a browser brings back from the sign-in page there: a code, and the state."""
        asked = {name: one for name, [one] in parse_qs(urlsplit(url).query).items()}
        assert url.startswith(f"{self.url}/authorize?")
        assert (asked["client_id"], asked["response_type"]) == (CLIENT, "code")
        assert asked["code_challenge_method"] == "S256"
        here = "http://127.0.0.1:8000/login/oidc/acme/callback/"
        assert asked["redirect_uri"] == here
        code = f"code{len(self.challenges)}"
        self.challenges[code] = asked["code_challenge"]
        return f"?code={code}&state={asked['state']}"

    def answer(self, path: str, form: dict[str, str]) -> tuple[int, Any]:
        self.asked.append(path)
        if path == "/.well-known/openid-configuration":
            return 200, self._discovery()
        if path == "/keys":
            public = jwt.algorithms.RSAAlgorithm.to_jwk(self.key.public_key(), as_dict=True)
            return 200, {"keys": [public | {"kid": "one", "alg": "RS256", "use": "sig"}]}
        if path == "/userinfo":
            return 200, self.told
        if path == "/token":
            return self._token(form)
        return 404, {}

    def _discovery(self) -> dict[str, Any]:
        return {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "userinfo_endpoint": f"{self.url}/userinfo",
            "jwks_uri": f"{self.url}/keys",
            "token_endpoint_auth_methods_supported": ["client_secret_post"],
        }

    def _token(self, form: dict[str, str]) -> tuple[int, Any]:
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        proof = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        # A code works once, for who began.
        if self.challenges.pop(form.get("code", ""), None) != proof:
            return 400, {"error": "invalid_grant"}
        if (form.get("client_id"), form.get("client_secret")) != (CLIENT, SECRET):
            return 401, {"error": "invalid_client"}
        now = int(time.time())
        claims = {"iss": self.url, "aud": CLIENT, "sub": "u1", "iat": now, "exp": now + 60}
        claims |= self.person | self.wrong
        claims = {name: value for name, value in claims.items() if value is not None}
        signs = self.key if self.signs is None else self.signs
        signed = jwt.encode(claims, signs, algorithm=self.algorithm, headers={"kid": "one"})
        return 200, {"access_token": "a", "token_type": "Bearer", "id_token": signed}


@contextmanager
def running() -> Iterator[Provider]:
    """Have a provider answer on loopback."""
    provider = Provider()

    class Handler(BaseHTTPRequestHandler):
        def _answer(self, form: dict[str, str]) -> None:
            status, body = provider.answer(urlsplit(self.path).path, form)
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def do_GET(self) -> None:
            self._answer({})

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            self._answer({name: one for name, [one] in parse_qs(body).items()})

        def log_message(self, format: str, *args: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    provider.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield provider
    finally:
        server.shutdown()
        thread.join()
        server.server_close()

"""The operator's client against a real HTTPS server of this test's own."""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from sojourn.client.api import Event, Operator, OperatorError
from sojourn.client.reaching import why_unreachable
from sojourn.crypto import Identity, create_trust, load_trusted_set, server_context

EVENTS = [("opened", {"round": 0}), ("answered", {"count": 1, "of": 5}), ("done", {"model": "ab"})]


class Handler(BaseHTTPRequestHandler):
    """Serves a job's events; the first connection is cut after one event, as a dying coordinator would."""

    cut = threading.Event()

    def log_message(self, *_: object) -> None:
        return

    def do_GET(self) -> None:
        if self.headers["Authorization"] != "Bearer letmein":
            self._reply(401, {"error": {"code": "unauthorised", "message": "wrong token"}})
        elif self.path.endswith("/events"):
            self._events(int(self.headers["Last-Event-ID"]))
        elif self.path == "/v1/plain":
            self.send_error(500, "boom")
        else:
            self._reply(200, {"id": "j", "path": self.path})

    def _reply(self, status: int, value: object) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _events(self, after: int) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        for number, (name, data) in enumerate(EVENTS, 1):
            if number > after:
                self.wfile.write(f": a comment\nid: {number}\nevent: {name}\ndata: {json.dumps(data)}\n\n".encode())
                self.wfile.flush()
                if not self.cut.is_set():
                    self.cut.set()
                    self.connection.close()
                    return


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    folder = tmp_path_factory.mktemp("client")
    layout = create_trust(folder / "trust")
    authority = load_trusted_set(layout.root).roster.authority
    pem = folder / "ca.pem"
    pem.write_bytes(x509.load_der_x509_certificate(authority).public_bytes(Encoding.PEM))
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = server_context(Identity.load(layout.coordinator / "identity.key"), authority, require_client=False)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield f"https://127.0.0.1:{server.server_address[1]}", pem
    server.shutdown()
    thread.join()
    server.server_close()


def test_follow_goes_on_where_a_cut_connection_left_off(place: tuple[str, Path]) -> None:
    url, pem = place
    Handler.cut.clear()
    with Operator(url, "letmein", pem) as api:
        found = list(api.follow("j"))
    assert found == [Event(n, name, data) for n, (name, data) in enumerate(EVENTS, 1)]


def test_the_coordinators_own_words_reach_the_operator(place: tuple[str, Path]) -> None:
    url, pem = place
    with Operator(url, "wrong", pem) as api, pytest.raises(OperatorError, match="wrong token") as caught:
        api.job("j")
    assert (caught.value.status, caught.value.reason) == (401, "unauthorised")


def test_an_answer_that_is_no_json_is_still_an_error(place: tuple[str, Path]) -> None:
    url, pem = place
    with Operator(url, "letmein", pem) as api, pytest.raises(OperatorError) as caught:
        api._json("GET", "/v1/plain")
    assert caught.value.status == 500


def test_a_certificate_of_another_authority_is_refused(place: tuple[str, Path], tmp_path: Path) -> None:
    url, _ = place
    other = create_trust(tmp_path / "other")
    pem = tmp_path / "other.pem"
    authority = load_trusted_set(other.root).roster.authority
    pem.write_bytes(x509.load_der_x509_certificate(authority).public_bytes(Encoding.PEM))
    with Operator(url, "letmein", pem) as api, pytest.raises(OperatorError, match=r"not signed by .* --ca") as caught:
        api.health()
    assert caught.value.status == 0


def test_nobody_there_says_what_to_check(place: tuple[str, Path]) -> None:
    with (
        Operator("https://127.0.0.1:1", "letmein", place[1]) as api,
        pytest.raises(OperatorError, match="nothing listens there: check that it runs"),
    ):
        list(api.follow("j", patience_s=0.1))


class Plain(socketserver.BaseRequestHandler):
    """No TLS."""

    def handle(self) -> None:
        self.request.recv(100)
        self.request.sendall(b"HTTP/1.0 400 Bad\r\n\r\n")


def test_a_port_without_tls(place: tuple[str, Path]) -> None:
    with socketserver.TCPServer(("127.0.0.1", 0), Plain) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        with (
            Operator(f"https://127.0.0.1:{server.server_address[1]}", "letmein", place[1]) as api,
            pytest.raises(OperatorError, match=r"speaks no TLS; operators have a port of their own"),
        ):
            api.jobs()
        thread.join()


@pytest.mark.parametrize(
    ("problem", "words"),
    [
        (("[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: IP address mismatch, certificate is not valid "
         "for '10.0.0.7'. (_ssl.c:1006)"), "trust init --host NAME"),
        ("Server disconnected without sending a response.", "as a listener for agents does"),
        ("[Errno 104] Connection reset by peer", "as a listener for agents does"),
        ("[Errno -2] Name or service not known", "Name or service not known; check"),
    ],
)  # fmt: skip
def test_what_transports_report_is_put_in_words(problem: str, words: str) -> None:
    said = why_unreachable("https://10.0.0.7:7444", problem)
    assert said.startswith("cannot reach the coordinator at https://10.0.0.7:7444: ")
    assert words in said

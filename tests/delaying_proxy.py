"""A proxy as visitors may have one between them and the page: it ends each answer late."""

from __future__ import annotations

import http.client
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "server", "date"}
_PIECE = 4096


@contextmanager
def delaying_proxy(target: str, *, low: float, high: float, seed: int = 0) -> Iterator[str]:
    """Serve a server at another address; the end of every answer comes `low` to `high` seconds late.

    In a stream of events, the event that says that the stream is closed is late. In any other answer, it is
    the last piece.

    Yields:
        The address of the proxy.
    """
    host, rng, lock = urlsplit(target).netloc, random.Random(seed), threading.Lock()

    def wait() -> None:
        with lock:
            seconds = rng.uniform(low, high)
        time.sleep(seconds)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _pass(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            headers = {name: value for name, value in self.headers.items() if name.lower() not in _HOP}
            connection = http.client.HTTPConnection(host, timeout=120)
            try:
                connection.request(self.command, self.path, body or None, headers)
                answer = connection.getresponse()
                self.send_response(answer.status)
                for name, value in answer.getheaders():
                    if name.lower() not in _HOP:
                        self.send_header(name, value)
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                is_stream = "event-stream" in (answer.getheader("Content-Type") or "")
                before = b""
                while piece := answer.read1(_PIECE) if is_stream else answer.read(_PIECE):
                    if is_stream:
                        if b"close_stream" in piece:
                            wait()
                        self._send(piece)
                    else:
                        self._send(before)
                        before = piece
                wait()
                self._send(before)
                self.wfile.write(b"0\r\n\r\n")
            except OSError:  # the browser left, or asks no more
                self.close_connection = True
            finally:
                connection.close()

        do_GET = do_POST = do_HEAD = _pass

        def _send(self, piece: bytes) -> None:
            if piece:
                self.wfile.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
                self.wfile.flush()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    class Server(ThreadingHTTPServer):
        request_queue_size = 128  # with the default of five, the system resets connections of fifty clients

    server = Server(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()

"""A web server on this machine, for tests of what downloads."""

import http.server
import threading
from contextlib import contextmanager


class Quiet(http.server.BaseHTTPRequestHandler):
    """Answers without a log."""

    def log_message(self, *arguments):
        pass


@contextmanager
def serving(handler, monkeypatch):
    """A server of ``handler`` in a thread, reached past any proxy; its ``address`` begins with http."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.address = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:  # also where a test fails, which would hang otherwise
            server.shutdown()
            thread.join()

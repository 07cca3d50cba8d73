"""A service without a model, and one on a socket of this process."""

import socket
import threading
from contextlib import contextmanager

from fulcrum.serving.bundle.config import ServingConfig
from fulcrum.serving.http.metrics import Metrics
from fulcrum.serving.http.service import Service
from fulcrum.serving.service import http_server


class Echo(Service):
    """Gives back what it gets, `factor` times, once it is `free`."""

    factor = 1

    def __init__(self, store=None):
        self.metrics = Metrics(self.unknown, self.seconds)
        self.free, self.storing, self.begun = (threading.Event() for _ in range(3))
        self.free.set()
        self.storing.set()
        super().__init__("echo", "1", ServingConfig(), store)

    @property
    def scorers(self):
        return []

    def score(self, body):
        return self.answer(body)

    def answer(self, body):
        self.begun.set()
        self.free.wait(30)
        return {"body": body.content.decode("latin-1") * self.factor}

    def add_events(self, body):
        self.storing.wait(30)
        return {}


@contextmanager
def listening(service):
    """The service on a port; the server has it as `port`."""
    server = http_server(service)
    service.open()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server.port = listener.getsockname()[1]
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            yield server
        finally:
            server.should_exit = True
            thread.join()

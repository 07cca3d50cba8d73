"""Slow, silent and many clients: each is heard or cut, and health answers throughout."""

import json
import resource
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fulcrum.serving import service as serving
from fulcrum.serving.bundle.config import ServingConfig
from fulcrum.serving.http import app as web
from fulcrum.serving.http import connection, intake
from tests.serving.http.small_service import Echo, listening

HEALTH = b"GET /v2/health/live HTTP/1.1\r\nhost: x\r\n\r\n"
HALF_BODY = b"POST /score HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{"


@pytest.fixture
def service(monkeypatch):
    monkeypatch.setattr(web, "THREADS", 4)
    service = Echo()
    yield service
    service.free.set()
    service.storing.set()


@pytest.fixture
def server(service, monkeypatch):
    monkeypatch.setattr(serving, "DRAIN_SECONDS", 1)
    with listening(service) as server:
        yield server


def call(port):
    return socket.create_connection(("127.0.0.1", port), timeout=20)


def post(path, body=b"{}"):
    return b"POST %b HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%b" % (path, len(body), body)


def ask(port, request):
    """Status, head and body of the answer."""
    with call(port) as client:
        client.sendall(request)
        return receive(client)


def receive(client):
    text = b""
    while b"\r\n\r\n" not in text:
        text += client.recv(65_536)
    head, _, body = text.partition(b"\r\n\r\n")
    lines = head.decode().lower().split("\r\n")
    size = next(int(line.split(": ")[1]) for line in lines if line.startswith("content-length"))
    while len(body) < size:
        body += client.recv(65_536)
    return int(lines[0].split()[1]), lines, body


def alive(port):
    started = time.monotonic()
    assert ask(port, HEALTH)[0] == 200
    return time.monotonic() - started < 5


def wait_until(holds):
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def seconds_until_cut(client, trickle=b""):
    """How long the other side keeps the connection while bytes come one by one."""
    started = time.monotonic()
    client.settimeout(0.05)
    while time.monotonic() - started < 20:
        try:
            if trickle:
                client.sendall(trickle)
            if client.recv(65_536) == b"":
                break
        except TimeoutError:
            continue
        except OSError:
            break
    return time.monotonic() - started


@pytest.mark.parametrize("trickle", [b"", b"x"])
@pytest.mark.parametrize("first", [b"", b"GET /v2/health", HEALTH + b"GET /v2/health"])
def test_a_head_that_never_ends_is_cut(server, monkeypatch, first, trickle):
    monkeypatch.setattr(connection, "HEAD_SECONDS", 0.4)
    with call(server.port) as client:
        client.sendall(first)
        assert seconds_until_cut(client, trickle) < 5
    assert alive(server.port)


@pytest.mark.parametrize("trickle", [b"", b"x"])
def test_a_body_that_never_ends_is_a_408(server, monkeypatch, trickle):
    monkeypatch.setattr(intake, "BODY_SECONDS", 1)
    with call(server.port) as client:
        client.sendall(HALF_BODY)
        for _ in range(4):
            time.sleep(0.05)
            client.sendall(trickle)
        status, head, body = receive(client)
        assert status == 408
        assert "takes too long to arrive" in json.loads(body)["error"]
        assert "connection: close" in head
        assert client.recv(1) == b""


@pytest.mark.parametrize("requests", [1, 2])
def test_an_answer_that_nobody_fetches_is_cut(server, service, monkeypatch, requests):
    monkeypatch.setattr(connection, "HEAD_SECONDS", 0.4)
    monkeypatch.setattr(connection, "ANSWER_SECONDS", 2)
    service.factor = 20_000_000
    with call(server.port) as client:
        client.sendall(requests * post(b"/score"))
        wait_until(lambda: server.server_state.connections)
        wait_until(lambda: not server.server_state.connections)
    assert alive(server.port)


def test_a_request_that_is_not_answered_is_cut(server, service, monkeypatch):
    monkeypatch.setattr(connection, "ANSWER_SECONDS", 0.4)
    service.free.clear()
    with call(server.port) as client:
        client.sendall(post(b"/score"))
        assert seconds_until_cut(client) < 5


@pytest.mark.parametrize("first", [b"", b"GET /v2/hea", HEALTH, HALF_BODY])
def test_more_connections_than_there_may_be_make_room_for_a_new_one(server, monkeypatch, first):
    monkeypatch.setattr(connection, "CONNECTIONS", 8)
    with ExitStack() as stack:
        clients = [stack.enter_context(call(server.port)) for _ in range(8)]
        for client in clients:
            client.sendall(first)
        time.sleep(0.2)
        for _ in range(20):
            stack.enter_context(call(server.port))
            assert alive(server.port)
        wait_until(lambda: len(server.server_state.connections) <= 8)
        assert seconds_until_cut(clients[0]) < 5


def test_connections_that_are_worked_for_are_not_the_ones_to_go(server, service, monkeypatch):
    monkeypatch.setattr(connection, "CONNECTIONS", 8)
    service.free.clear()
    with call(server.port) as client, ExitStack() as stack:
        client.sendall(post(b"/score", b"mine"))
        assert service.begun.wait(20)
        for _ in range(20):
            stack.enter_context(call(server.port))
        assert alive(server.port)
        service.free.set()
        assert receive(client)[::2] == (200, b'{"body":"mine"}')


@contextmanager
def asking(port, requests):
    """The answers, as they come, of clients in threads of their own."""
    answers = []
    threads = [
        threading.Thread(target=lambda r=request: answers.append(ask(port, r)))
        for request in requests
    ]
    for thread in threads:
        thread.start()
    yield answers
    for thread in threads:
        thread.join()


def test_requests_beyond_the_queue_are_sent_away_at_once(service, monkeypatch):
    monkeypatch.setattr(intake, "WAITING", 3)
    service.free.clear()
    with listening(service) as server, asking(server.port, [post(b"/score")] * 12) as answers:
        wait_until(lambda: len(answers) >= 12 - 4 - 3)
        assert len(answers) == 12 - 4 - 3
        for status, head, body in answers:
            assert (status, json.loads(body)["error"][:8]) == (503, "too many")
            assert "retry-after: 1" in head
        assert alive(server.port)
        service.free.set()
    assert [status for status, _, _ in answers].count(200) == 4 + 3


def test_a_request_that_waits_too_long_for_a_thread_is_sent_away(server, service, monkeypatch):
    monkeypatch.setattr(intake, "WAITING_SECONDS", 0.4)
    service.free.clear()
    with asking(server.port, [post(b"/score")] * 6) as answers:
        wait_until(lambda: len(answers) >= 6 - 4)
        assert [(status, "retry-after: 1" in head) for status, head, _ in answers] == [
            (503, True)
        ] * 2
        service.free.set()
    assert [status for status, _, _ in answers].count(200) == 4
    assert ask(server.port, post(b"/score"))[0] == 200


def test_a_request_that_would_miss_its_deadline_is_sent_away_at_once(service):
    """One takes half a second, so those that would wait for another one have no time left."""
    service.limits = ServingConfig(deadline=0.9)
    answer = service.answer
    service.answer = lambda body: (time.sleep(0.5), answer(body))[1]
    with listening(service) as server, ThreadPoolExecutor(24) as pool:
        for _ in range(2):
            started = time.monotonic()
            assert ask(server.port, post(b"/score"))[0] == 200
            assert time.monotonic() - started > 0.5

        def ask_and_time(_):
            started = time.monotonic()
            status, head, _ = ask(server.port, post(b"/score"))
            return status, "retry-after: 1" in head, time.monotonic() - started

        answers = list(pool.map(ask_and_time, range(24)))
        assert [retry for status, retry, _ in answers if status == 503] == [True] * 20
        assert max(seconds for status, _, seconds in answers if status == 503) < 0.5
        assert [status for status, *_ in answers].count(200) == 4
        assert ask(server.port, post(b"/score"))[0] == 200


def test_events_that_wait_keep_no_thread_from_scoring(server, service):
    service.storing.clear()
    with asking(server.port, [post(b"/events")] * 12):
        time.sleep(0.3)
        assert ask(server.port, post(b"/score"))[0] == 200
        service.storing.set()


def test_large_bodies_leave_threads_to_small_ones(server, service, monkeypatch):
    monkeypatch.setattr(web, "LARGE", 1000)
    monkeypatch.setattr(intake, "WAITING_SECONDS", 0.4)
    begun, answer = [], service.answer
    service.answer = lambda body: (begun.append(len(body.content)), answer(body))[1]
    service.free.clear()
    large = post(b"/score", b"x" * 1001)
    with asking(server.port, [large] * (web.LARGE_THREADS + 2)) as answers:
        wait_until(lambda: len(answers) == 2)
        assert begun == [1001] * web.LARGE_THREADS
        with asking(server.port, [post(b"/score", b"x" * 1000)]):
            wait_until(lambda: begun[-1] == 1000)
            service.free.set()
    assert sorted(status for status, *_ in answers) == [200] * web.LARGE_THREADS + [503] * 2


def test_of_too_many_slow_bodies_the_oldest_is_given_up(server, monkeypatch):
    monkeypatch.setattr(intake, "BODIES", 2)
    with ExitStack() as stack:
        clients = [stack.enter_context(call(server.port)) for _ in range(3)]
        for client in clients:
            client.sendall(HALF_BODY)
            time.sleep(0.1)
        assert receive(clients[0])[0] == 408
        assert ask(server.port, post(b"/score"))[0] == 200
        clients[2].sendall(b"}" * 99)
        assert receive(clients[2])[0] == 200


HEADS = st.one_of(
    st.binary(max_size=200),
    st.builds(
        lambda method, path, head, body: (
            b"%b %b HTTP/1.1\r\n%b\r\n\r\n%b" % (method, path, head, body)
        ),
        st.sampled_from([b"GET", b"POST", b"NONE", b"\xff"]),
        st.sampled_from([b"/score", b"/", b"*", b"http://x/score", b"/%00%ff", b"score"]),
        st.sampled_from(
            [
                b"host: x",
                b"host: x\r\ncontent-length: 3",
                b"host: x\r\ncontent-length: -1",
                b"host: x\r\ncontent-length: 3\r\ncontent-length: 4",
                b"host: x\r\ntransfer-encoding: chunked",
                b"host: x\r\ntransfer-encoding: chunked\r\ncontent-length: 3",
                b"host: x\r\nexpect: 100-continue\r\ncontent-length: 3",
                b"host: x\r\nupgrade: websocket\r\nconnection: upgrade",
                b"host: x\r\n" + b"a: b\r\n" * 500 + b"c: " + b"d" * 20_000,
            ]
        ),
        st.binary(max_size=20),
    ),
)


def test_no_head_breaks_the_service(server, caplog):
    @settings(max_examples=300)
    @given(HEADS)
    def send(request):
        with call(server.port) as client:
            client.sendall(request)
            client.shutdown(socket.SHUT_WR)
            with suppress(ConnectionError):
                answer = client.recv(65_536)
                assert not answer or answer.startswith(b"HTTP/1.1 ")
                assert not answer.startswith(b"HTTP/1.1 5")

    send()
    assert alive(server.port)
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize("path", [b"/score", b"/nowhere", b"/v2/health/live"])
@pytest.mark.parametrize("sound", [b"", b"1\r\n{\r\n"])
@pytest.mark.parametrize("wait", [0, 0.1])
def test_a_broken_body_has_one_answer(server, caplog, path, sound, wait):
    """Whether the request was being read, answered or had its answer when the body broke."""
    head = b"POST %b HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n" % path
    with call(server.port) as client:
        client.sendall(head + sound + (b"" if wait else b"no chunk\r\n"))
        if wait:
            time.sleep(wait)
            client.sendall(b"no chunk\r\n")
        answers = b""
        with suppress(ConnectionError):
            while part := client.recv(65_536):
                answers += part
    assert answers.count(b"HTTP/1.1 4") == answers.count(b"HTTP/1.1 ") == 1
    assert alive(server.port)
    assert "Traceback" not in caplog.text


SERVE = """
import resource, sys
from fulcrum.serving.service import serve
from tests.serving.http.small_service import Echo
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (1024, hard))
serve(Echo, port=int(sys.argv[1]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("first", [b"", b"GET /v2/hea", HALF_BODY])
def test_more_connections_than_descriptors_leave_health_reachable(first):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    process = subprocess.Popen([sys.executable, "-c", SERVE, str(port)], stderr=subprocess.PIPE)
    try:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                assert alive(port)
                break
            except OSError:
                time.sleep(0.1)
        with ExitStack() as stack:
            for number in range(1200):
                stack.enter_context(call(port)).sendall(first)
                if number % 100 == 0:
                    assert alive(port)
            assert alive(port)
        process.terminate()
        assert process.wait(20) == 0
        assert process.stderr.read() == b""
    finally:
        process.kill()
        process.stderr.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

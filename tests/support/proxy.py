"""An HTTP server of a test's own that hands requests on to a real server, but for those that rules do other things to.

    lying.on("PUT /containers/*/archive*", cut_request(1000))       the first such request and all after it
    lying.on("POST /commit*", calling(engine.kill), nth=2, times=1)

A rule is matched against "METHOD /path?query" with the API version taken off; the last rule that fits counts. An
action is called with the Exchange. Each connection serves one request.
"""

import contextlib
import fnmatch
import json
import re
import socket
import threading
import time

MIB = 1 << 20


def to_unix(path):
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(path)
    return connection


def to_port(port):
    return socket.create_connection(("127.0.0.1", port))


class Proxy:
    """Serves on `listener`; `connect` makes a connection to the real server (None: there is none)."""

    def __init__(self, listener, connect):
        self.listener, self.connect = listener, connect
        self.rules, self.requests = [], []
        self.closing = threading.Event()
        self._lock = threading.Lock()
        self._open = set()
        listener.listen(64)
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.closing.set()
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        with self._lock:
            for one in list(self._open):
                end(one)

    def on(self, pattern, action, nth=1, times=None):
        """From the nth request on that fits (so many `times`), `action` answers."""
        self.rules.append({"pattern": pattern, "action": action, "from": nth, "until": nth + times if times else None,
                           "seen": 0})

    def forget(self):
        """No rules, no requests seen."""
        with self._lock:
            self.rules.clear()
            self.requests.clear()

    def seen(self, pattern):
        """How many requests came that fit."""
        return sum(fnmatch.fnmatchcase(one, pattern) for one in list(self.requests))

    def _accept(self):
        while not self.closing.is_set():
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client):
        with self._lock:
            self._open.add(client)
        try:
            exchange = Exchange(self, client)
            if exchange.name:
                self._action(exchange.name)(exchange)
        except OSError:
            pass  # whoever is on the other side went away
        finally:
            with self._lock:
                self._open.discard(client)
            end(client)

    def _action(self, name):
        with self._lock:
            self.requests.append(name)
            chosen = forward()
            for rule in self.rules:
                if fnmatch.fnmatchcase(name, rule["pattern"]):
                    rule["seen"] += 1
                    if rule["from"] <= rule["seen"] and (rule["until"] is None or rule["seen"] < rule["until"]):
                        chosen = rule["action"]
            return chosen


def end(connection):
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()


class Exchange:
    """One request, and what becomes of it."""

    def __init__(self, proxy, client):
        self.proxy, self.client = proxy, client
        self.head, self.rest = read_head(client)
        words = self.head.split(b"\r\n", 1)[0].decode("latin-1").split(" ")
        self.name = f"{words[0]} {re.sub(r'^/v[0-9]+[.][0-9]+(?=/)', '', words[1])}" if len(words) == 3 else None

    def forward(self, cut_request=None, cut_reply=None, on_cut=lambda: None, change=None, pause=None):
        """Hands the request on and the reply back. Cuts both connections after so many bytes of the request's body, or
        of the reply's, and calls on_cut() just before; `change` gets the whole reply (head and body) and gives what is
        handed back; `pause` seconds before each piece of at most 1 KiB of the reply."""
        if self.proxy.connect is None:
            return
        server = self.proxy.connect()
        pump = threading.Thread(target=self._send, args=(server, cut_request, on_cut), daemon=True)
        pump.start()
        try:
            head, rest = read_head(server)
            while re.match(rb"HTTP/1\.1 1(?!01)", head):
                self.client.sendall(head)
                head, rest = read_head(server, rest)
            if not head:
                return
            if change:
                reply = change(head + rest + everything(server))
                self.client.sendall(reply)
                self._linger(pump, reply)
                return
            self.client.sendall(head)
            left = cut_reply
            while rest:
                piece = rest if left is None else rest[:left]
                self._paced(piece, pause)
                if left is not None:
                    left -= len(piece)
                    if left == 0:
                        on_cut()
                        return
                rest = server.recv(65536)
            self._linger(pump, head)
        finally:
            end(server)
            end(self.client)
            pump.join(10)

    def _linger(self, pump, reply):
        """A server that closes may answer before an upload's last bytes came: its client still wants to send them. It
        closes when it has the answer."""
        if reply and b"\r\ntransfer-encoding: chunked" in self.head.lower():
            pump.join(2)

    def _paced(self, data, pause):
        if pause is None:
            self.client.sendall(data)
            return
        for start in range(0, len(data), 1024):
            self.proxy.closing.wait(pause)
            self.client.sendall(data[start:start + 1024])

    def _send(self, server, cut, on_cut):
        """The request: one per connection, so the real server is told to close it (but for a hijacked one)."""
        try:
            head = self.head
            if b"\r\nupgrade:" not in head.lower():
                head = re.sub(rb"\r\n(?i:connection):[^\r\n]*", b"", head)
                head = head.replace(b"\r\n", b"\r\nConnection: close\r\n", 1)
            server.sendall(head)
            data, left = self.rest, cut
            while True:
                if left is not None:
                    data = data[:left]
                    left -= len(data)
                self._pass(server, data)
                if left == 0:
                    on_cut()
                    end(self.client)
                    end(server)
                    return
                data = self.client.recv(65536)
                if not data:
                    # Half closed: only after a hijack; else the client is gone, and the server has to know.
                    server.shutdown(socket.SHUT_WR)
                    return
        except OSError:
            pass

    def _pass(self, server, data):
        try:
            server.sendall(data)
        except OSError:  # it has answered and closed: what else there is interests nobody
            while self.client.recv(65536):
                pass
            raise

    def answer(self, pieces):
        """Sends these bytes (an iterable of pieces, perhaps endless) until the client has enough of it."""
        for piece in pieces:
            if self.proxy.closing.is_set():
                return
            self.client.sendall(piece)

    def swallow(self):
        """Reads what the client sends until it is the client's turn to listen (0.2 s of silence), so that the reply is
        not lost by a reset."""
        self.client.settimeout(0.2)
        with contextlib.suppress(OSError):
            while self.client.recv(65536):
                pass
        self.client.settimeout(None)


def read_head(connection, data=b""):
    while b"\r\n\r\n" not in data:
        piece = connection.recv(65536)
        if not piece or (data + piece)[:1] == b"\x16":  # nothing but a greeting of TLS comes, and waits
            return b"", data
        data += piece
    place = data.index(b"\r\n\r\n") + 4
    return data[:place], data[place:]


def everything(connection):
    return b"".join(iter(lambda: connection.recv(MIB), b""))


# ---------------------------------------------------------------------------------------------- actions


def forward(**how):
    return lambda exchange: exchange.forward(**how)


def cut():
    """The connection ends without an answer."""
    return lambda exchange: None


def cut_request(after, on_cut=lambda: None):
    return forward(cut_request=after, on_cut=on_cut)


def cut_reply(after, on_cut=lambda: None):
    return forward(cut_reply=after, on_cut=on_cut)


def calling(function, then=forward()):
    """Calls function() before the request is handed on."""
    def action(exchange):
        function()
        then(exchange)
    return action


def calling_after(function):
    """The real server answers, function() is called, and only then the client gets the answer."""
    def changed(reply):
        function()
        return reply
    return forward(change=changed)


def lost_reply(function=lambda: None):
    """The real server does what it was asked to; the client never hears of it."""
    def changed(_):
        function()
        return b""
    return forward(change=changed)


def reply(status, body=b"", **headers):
    """An answer made up; `body`: bytes, or what becomes JSON. Header names with _ for -."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    kind = "application/octet-stream" if isinstance(body, bytes) else "application/json"
    lines = {"Content-Type": kind, "Content-Length": len(data), "Connection": "close",
             **{name.replace("_", "-"): value for name, value in headers.items()}}
    head = f"HTTP/1.1 {status} Made-Up\r\n" + "".join(f"{name}: {value}\r\n" for name, value in lines.items()) + "\r\n"
    return raw([head.encode() + data])


def refusal(status, words, **headers):
    """An answer as the engine makes them: {"message": words}."""
    return reply(status, {"message": words}, **headers)


def raw(pieces):
    """Exactly these bytes; `pieces` is iterable, or gives an iterable when called."""
    def action(exchange):
        exchange.swallow()
        exchange.answer(pieces() if callable(pieces) else pieces)
    return action


def chunked(pieces, kind="application/json", last=True):
    """A chunked reply of status 200 made of pieces."""
    def stream():
        yield f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
        for piece in (pieces() if callable(pieces) else pieces):
            yield b"%x\r\n%b\r\n" % (len(piece), piece)
        if last:
            yield b"0\r\n\r\n"
    return raw(stream)


def endless_headers():
    def stream():
        yield b"HTTP/1.1 200 OK\r\n"
        count = 0
        while True:
            count += 1
            yield b"X-Endless-%d: %b\r\n" % (count, b"a" * 1000)
    return raw(stream)


def long_header(size=64 * MIB):
    return raw(lambda: (b"HTTP/1.1 200 OK\r\nX-Long: " if not place else b"a" * MIB for place in range(size // MIB)))


def flood(size, start=b'{"Id":"', piece=b"a" * MIB, kind="application/json"):
    """A reply of `size` bytes that never makes sense."""
    return chunked(lambda: (start if not place else piece for place in range(size // len(piece) + 1)), kind)


def silence(seconds=600):
    """No answer, the connection stays open."""
    return lambda exchange: exchange.proxy.closing.wait(seconds)


def slow(seconds, then=forward()):
    return lambda exchange: (exchange.proxy.closing.wait(seconds), then(exchange))[1]


def dripping(pause):
    return forward(pause=pause)


def edited_json(edit):
    """The real answer, with its JSON given to edit(value), which changes it or gives another."""
    def change(answer):
        head, _, body = answer.partition(b"\r\n\r\n")
        value = json.loads(unchunked(head, body))
        other = edit(value)
        return rebuilt(head, json.dumps(value if other is None else other).encode())
    return forward(change=change)


def edited_body(edit):
    """The real answer, with its body given to edit(bytes)."""
    def change(answer):
        head, _, body = answer.partition(b"\r\n\r\n")
        return rebuilt(head, edit(unchunked(head, body)))
    return forward(change=change)


def wrong_length(more=1000):
    """The real answer, but for a Content-Length that promises more (or less) than there is."""
    def change(answer):
        head, _, body = answer.partition(b"\r\n\r\n")
        body = unchunked(head, body)
        return rebuilt(head, body, len(body) + more)
    return forward(change=change)


def unchunked(head, body):
    if b"transfer-encoding: chunked" not in head.lower():
        return body
    out = []
    while body:
        line, _, body = body.partition(b"\r\n")
        size = int(line, 16)
        out.append(body[:size])
        body = body[size + 2:]
    return b"".join(out)


def rebuilt(head, body, length=None):
    head = re.sub(rb"\r\n(?i:transfer-encoding|content-length):[^\r\n]*", b"", head)
    return head + b"\r\nContent-Length: %d\r\n\r\n" % (len(body) if length is None else length) + body


def waiting(event, then=forward(), reached=None, seconds=60):
    """Sets `reached` and waits for another test thread's event before it goes on."""
    def action(exchange):
        if reached:
            reached.set()
        until = time.monotonic() + seconds
        while not event.wait(0.05) and not exchange.proxy.closing.is_set() and time.monotonic() < until:
            pass
        then(exchange)
    return action

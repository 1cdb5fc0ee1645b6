"""Container engines and registries of a test's own: real servers in a folder of their own, on a socket or a port that
nobody else knows, ended and removed whatever happens to the test.

    engine = support.engine.shared()          one Docker Engine for all tests of a program
    with support.engine.Engine() as engine:   one to kill or to fill
    Registry, Podman                          in the same way
    LyingDaemon(engine), FaultyRegistry(registry)   stand before one of them and do what rules say (support.proxy)
"""

import atexit
import contextlib
import functools
import http.client
import io
import json
import mmap
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tarfile
import tempfile
import time
import unittest
import urllib.parse

from support import files as fs
from support import oci, proxy

USER, PASSWORD = "station", "throw-away-registry-word"
BUSYBOX = "/bin/busybox"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def why_not(*programs):
    """What is missing to run these servers here; None when nothing is."""
    if os.geteuid() != 0:
        return "needs root to run a container engine"
    lost = [name for name in programs if shutil.which(name, path=PATH) is None]
    if lost:
        return f"needs {' and '.join(lost)}"
    return None if os.path.exists(BUSYBOX) else f"needs {BUSYBOX} (busybox-static)"


def needs_engine(*more):
    """Decorator: tests that need a Docker Engine and further programs."""
    reason = why_not("dockerd", "docker", *more)
    return unittest.skipIf(reason is not None, reason or "")


# ---------------------------------------------------------------------------------------------- folders and processes


class Place:
    """A folder with a short path, and a keeper beside it: a process that ends what runs there and removes the folder
    when this process closes it or is gone."""

    def __init__(self):
        self.path = tempfile.mkdtemp(prefix="tt-", dir="/tmp")
        self._keeper = subprocess.Popen([sys.executable, "-B", __file__, self.path], stdin=subprocess.PIPE,
                                        start_new_session=True,
                                        env={"PATH": PATH, "PYTHONPATH": os.path.dirname(os.path.dirname(__file__))})
        atexit.register(self.close)

    def close(self):
        if not self._keeper.stdin.closed:
            self._keeper.stdin.close()
            self._keeper.wait()


def living_there(place):
    """Processes whose arguments name the folder."""
    for number in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{number}/cmdline", "rb") as stream:
                if int(number) != os.getpid() and f"{place}/".encode() in stream.read():
                    yield int(number)
        except OSError:
            pass


def mounted_there(place):
    with open("/proc/self/mountinfo", encoding="utf-8") as stream:
        found = [line.split()[4] for line in stream]
    return sorted((path for path in found if path.startswith(place + "/")), reverse=True)


def keep(place):
    """The keeper's life."""
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, signal.SIG_IGN)
    sys.stdin.buffer.read()
    for sent, patience in ((signal.SIGTERM, 10), (signal.SIGKILL, 10)):
        until = time.monotonic() + patience
        told = set()
        while (left := set(living_there(place))) and time.monotonic() < until:
            for number in left - told:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(number, sent)
            told |= left
            time.sleep(0.02)
    for path in mounted_there(place):
        subprocess.run(["umount", "-l", path], stderr=subprocess.DEVNULL, check=False)
    shutil.rmtree(place, True)


class Server:
    """A program that runs in a folder of its own."""

    def __init__(self):
        self.place = Place()
        self.path = self.place.path
        self.home = f"{self.path}/home"
        os.makedirs(f"{self.home}/docker", 0o700)
        self.log = f"{self.path}/log"
        self.process = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(15)
        self.place.close()
        if self.process is not None:
            self.process.wait()

    def run(self, argv, ready, seconds=60, **env):
        """Starts argv in the background, and waits until `ready` gives something true."""
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.path,
                                            env={"PATH": PATH, "HOME": self.home, **env}, start_new_session=True)
        until = time.monotonic() + seconds
        while time.monotonic() < until and self.process.poll() is None:
            with contextlib.suppress(OSError, http.client.HTTPException):
                if found := ready():
                    return found
            time.sleep(0.05)
        words = self.log_text()[-3000:]
        self.close()
        raise AssertionError(f"{argv[0]} does not start:\n{words}")

    def log_text(self, since=0):
        with open(self.log, "rb") as stream:
            stream.seek(since)
            return stream.read().decode("utf-8", "replace")

    def log_size(self):
        return os.path.getsize(self.log)


# ---------------------------------------------------------------------------------------------- the Engine API


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path, timeout):
        super().__init__("engine", timeout=timeout)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class ApiError(AssertionError):
    def __init__(self, status, text):
        super().__init__(f"HTTP {status}: {text}")
        self.status = status


class Api:
    """What speaks the Docker Engine API on the unix socket self.socket: asked directly, without traintoken's code."""

    def api(self, method, path, body=None, want=(200, 201, 204, 304), timeout=120, raw=False):
        """One exchange. `body`: bytes, or what becomes JSON. Gives the reply's JSON (its bytes when `raw`)."""
        kind = "application/x-tar" if isinstance(body, bytes) else "application/json"
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        connection = UnixConnection(self.socket, timeout)
        try:
            connection.request(method, "/v1.40" + path, data, {"Content-Type": kind} if data is not None else {})
            reply = connection.getresponse()
            content = reply.read()
        finally:
            connection.close()
        if reply.status not in want:
            raise ApiError(reply.status, content.decode("utf-8", "replace"))
        if raw:
            return content
        return json.loads(content) if content.strip() and content.lstrip()[:1] in b"{[" and b"}\n{" not in \
            content.replace(b"\r", b"") else None

    def ping(self):
        return self.api("GET", "/_ping", raw=True, timeout=5) == b"OK"

    # ------------------------------------------------------------------------------------------ images

    def image(self, name):
        """What the engine says of an image; None when there is none of that name."""
        try:
            return self.api("GET", f"/images/{name}/json")
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    def id(self, name):
        found = self.image(name)
        return None if found is None else "sha256:" + found["Id"].removeprefix("sha256:")

    def images(self):
        """{id: [tags]} of all images, intermediate and dangling ones too."""
        return {one["Id"]: sorted(tag for tag in one["RepoTags"] or [] if tag != "<none>:<none>")
                for one in self.api("GET", "/images/json?all=1")}

    def tags(self):
        """{tag: id}"""
        return {tag: name for name, tags in self.images().items() for tag in tags}

    def dangling(self):
        """Ids of images that no tag names."""
        return sorted(name for name, tags in self.images().items() if not tags)

    def containers(self):
        """{name: what the engine says} of all containers, running or not."""
        return {one["Names"][0].lstrip("/"): one for one in self.api("GET", "/containers/json?all=1")}

    def state(self):
        """What must be as it was after a failure: tags with their ids, all images, all containers."""
        return {"images": self.images(), "containers": sorted(self.containers())}

    def clear(self):
        """Removes all containers and images."""
        for name in self.containers():
            self.api("DELETE", f"/containers/{name}?force=1&v=1", want=(204, 200, 404))
        while images := self.images():
            for name, tags in images.items():
                for one in tags or [name]:
                    self.api("DELETE", f"/images/{one}?force=1", want=(200, 404, 409))
            if self.images() == images:
                raise AssertionError(f"cannot remove {images}")

    def tag(self, name, new):
        repository, _, tag = new.rpartition(":")
        self.api("POST", f"/images/{name}/tag?repo={urllib.parse.quote(repository, '')}&tag={tag}")

    def load(self, images, config=None):
        """Makes images of layers: {"name:tag": [oci.Layer, ...]}. `config` are members of the image's configuration
        beside rootfs."""
        out, manifest, seen = io.BytesIO(), [], set()
        with tarfile.open(fileobj=out, mode="w:") as archive:
            def add(name, data):
                if name not in seen:
                    seen.add(name)
                    info = tarfile.TarInfo(name)
                    info.size = len(data)
                    archive.addfile(info, io.BytesIO(data))
                return name

            for name, layers in images.items():
                value = {"architecture": oci.ARCHITECTURE, "os": "linux",
                         "config": {"Entrypoint": ["/opt/pht_train/entrypoint.sh"]},
                         "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]},
                         "history": [{"created_by": f"layer {place}"} for place in range(len(layers))]}
                value.update(config or {})
                text = json.dumps(value).encode()
                manifest.append({"Config": add(oci.digest_of(text)[7:] + ".json", text), "RepoTags": [name],
                                 "Layers": [add(f"{layer.diff_id[7:]}/layer.tar", layer.tar) for layer in layers]})
            add("manifest.json", json.dumps(manifest).encode())
        self.api("POST", "/images/load?quiet=1", out.getvalue(), raw=True)

    def import_base(self, name="base:latest", entries=(), changes=('ENTRYPOINT ["/bin/sh"]',)):
        """An image of one layer: busybox and these entries."""
        query = urllib.parse.urlencode([("fromSrc", "-"), ("repo", name), *(("changes", one) for one in changes)])
        said = self.api("POST", f"/images/create?{query}", fs.write_tar(list(fs.tree([*busybox(), *entries]).values())),
                        raw=True)
        assert b'"error"' not in said, said
        return self.id(name)

    def load_train(self, repository, opt, base_opt=None, config=None):
        """The images REPOSITORY:base and REPOSITORY:latest of a train, as oci.train_layout makes them."""
        base_opt = opt if base_opt is None else base_opt
        below = [system_layer(), oci.Layer(list(base_opt.values()))]
        layers = list(below)
        if base_opt is not opt:
            # With the folders above what changed: an engine would make them anew, with times of its own.
            changed = oci.difference(base_opt, opt)
            above = {"/".join(entry.path.split("/")[:depth]) for entry in changed for depth in range(1, 9)}
            folders = [opt[path] for path in above - {entry.path for entry in changed} if path in opt]
            layers.append(oci.Layer(sorted([*folders, *changed], key=lambda entry: fs.archive_key(entry.path))))
        self.load({f"{repository}:base": below, f"{repository}:latest": layers}, config)

    def put(self, name, entries, tag=None):
        """Puts files on an image as a container that wrote them and was committed; gives the new id."""
        container = self.create(name)
        try:
            # Without padding: Podman fails where it still comes when the end was read, which is a matter of luck.
            tar = fs.write_tar(list(entries), end=False) + bytes(1024)
            self.api("PUT", f"/containers/{container}/archive?path=/", tar)
            return self.commit(container, tag or name)
        finally:
            self.remove(container)

    def create(self, image, name=None, command=None, **config):
        """A container that is not started."""
        query = f"?name={name}" if name else ""
        body = {"Image": image, "NetworkDisabled": True, "HostConfig": {"NetworkMode": "none"}, **config}
        if command:
            body["Entrypoint"] = command
        return self.api("POST", f"/containers/create{query}", body)["Id"]

    def commit(self, container, tag):
        repository, _, tag = tag.rpartition(":")
        query = urllib.parse.urlencode({"container": container, "repo": repository, "tag": tag})
        return self.api("POST", f"/commit?{query}", {})["Id"]

    def remove(self, container):
        self.api("DELETE", f"/containers/{container}?force=1&v=1", want=(204, 200, 404))

    def layers(self, name):
        """The tars of an image's layers, lowest first."""
        saved = self.api("GET", f"/images/{name}/get", raw=True)
        with tarfile.open(fileobj=io.BytesIO(saved)) as archive:
            manifest = json.load(archive.extractfile("manifest.json"))[0]
            found = []
            for path in manifest["Layers"]:
                member = archive.getmember(path)
                if member.issym() or member.islnk():
                    place = member.linkname if member.islnk() else os.path.normpath(
                        os.path.join(os.path.dirname(path), member.linkname))
                    member = archive.getmember(place)
                found.append(archive.extractfile(member).read())
            return found

    def tree(self, name):
        """The merged file system of an image."""
        return oci.merged(self.layers(name))

    def files(self, name, path):
        """The tree of /opt only, as `docker cp` would take it out: quicker than all layers."""
        container = self.create(name)
        try:
            tar = self.api("GET", f"/containers/{container}/archive?path={urllib.parse.quote('/' + path)}", raw=True)
        finally:
            self.remove(container)
        parent = os.path.dirname(path)
        return fs.tree([entry.with_(path=f"{parent}/{entry.path}".lstrip("/")) for entry in fs.read_tar(tar)])

    def docker(self, *arguments, check=True, **options):
        """Runs the docker command line against this engine; gives its output."""
        done = subprocess.run(["docker", *map(str, arguments)], env={"PATH": PATH, "HOME": self.home, **self.env()},
                              stdin=options.pop("stdin", subprocess.DEVNULL), stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, check=False, **options)
        if check:
            assert done.returncode == 0, f"docker {' '.join(map(str, arguments))}: {done.stdout}{done.stderr}"
        return done.stdout

    def env(self):
        """What makes a client find this engine, with an own, empty configuration of docker."""
        return {"DOCKER_HOST": f"unix://{self.socket}", "DOCKER_CONFIG": f"{self.home}/docker"}

    def log_in(self, registry, user=USER, password=PASSWORD, place=None):
        """Writes credentials into docker's configuration (this engine's, unless `place`)."""
        write_auth(place or f"{self.home}/docker/config.json", registry, user, password)


def write_auth(path, registry, user=USER, password=PASSWORD):
    import base64

    text = base64.b64encode(f"{user}:{password}".encode()).decode()
    with open(path, "w", encoding="ascii", opener=lambda name, flags: os.open(name, flags, 0o600)) as stream:
        json.dump({"auths": {registry: {"auth": text}}}, stream)


@functools.cache
def _busybox():
    with open(BUSYBOX, "rb") as stream:
        program = stream.read()
    links = [fs.symlink(f"bin/{name}", "busybox") for name in (
        "sh", "cat", "sleep", "echo", "id", "ls", "wc", "sha512sum", "mkdir", "chmod", "rm", "ln", "touch", "cp", "env",
        "true", "false", "dd", "head", "mv", "ps", "kill", "wget", "stat", "find", "test", "date", "yes", "printf")]
    return tuple(fs.tree([fs.file("bin/busybox", program, 0o755), *links, fs.folder("tmp", 0o1777), fs.folder("etc"),
                          fs.file("etc/passwd", b"root:x:0:0:root:/root:/bin/sh\nuser:x:1000:100::/:/bin/sh\n"),
                          fs.file("etc/group", b"root:x:0:\nusers:x:100:\n")]).values())


def busybox():
    """The files of a system that runs: busybox and a few links to it."""
    return list(_busybox())


@functools.cache
def system_layer():
    return oci.Layer(busybox())


# ---------------------------------------------------------------------------------------------- servers


class Engine(Api, Server):
    """A Docker Engine (dockerd). `size`: its data lie in a tmpfs of so many MiB. `tls`: a folder with ca.pem, server.pem
    and server-key.pem, to listen on self.port of loopback too."""

    def __init__(self, size=None, tls=None):
        Server.__init__(self)
        self.socket, self.data, self.more = f"{self.path}/s", f"{self.path}/data", []
        if tls:
            self.port = int(closed_port().rpartition(":")[2])
            self.more = ["-H", f"tcp://127.0.0.1:{self.port}", "--tlsverify", f"--tlscacert={tls}/ca.pem",
                         f"--tlscert={tls}/server.pem", f"--tlskey={tls}/server-key.pem"]
        os.mkdir(self.data)
        if size is not None:
            subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}m", "tmpfs", self.data], check=True)
        with open(f"{self.path}/daemon.json", "w", encoding="ascii") as stream:
            stream.write("{}")
        self.start()

    def start(self):
        """Also again, on the same data, after kill()."""
        self.run(["dockerd", "--debug", "--config-file", f"{self.path}/daemon.json", "--iptables=false",
                  "--ip6tables=false", "--bridge=none", "-H", f"unix://{self.socket}", "-p", f"{self.path}/pid",
                  "--data-root", self.data, "--exec-root", f"{self.path}/exec", *self.more], self.ping)

    def kill(self):
        """The daemon dies without a word, and containerd, which is its child, with it; containers live on."""
        self.process.kill()
        self.process.wait()
        with contextlib.suppress(OSError):
            record = f"{self.path}/exec/containerd/containerd.pid"
            with open(record, encoding="ascii") as stream:
                number = int(stream.read())
            # A daemon that starts takes whatever has this number for its containerd, a zombie too.
            os.remove(record)
            if number in living_there(self.path):
                os.kill(number, signal.SIGKILL)

    def restart(self):
        if self.process.poll() is None:
            self.kill()
        self.start()

    def stop(self):
        self.process.terminate()
        self.process.wait()

    # ------------------------------------------------------------------------------------------ what it did and holds

    def calls(self, since=0):
        """The API calls since a log_size(), as "METHOD /path?query" without the version."""
        return [f"{method} {path}" for method, path in
                re.findall(r'msg="Calling (\w+) (?:/v[\d.]+)?(/[^" ]*)"', self.log_text(since))]

    def count(self, pattern, since=0):
        """How many calls match a regular expression."""
        return sum(re.match(pattern, call) is not None for call in self.calls(since))

    def disk_use(self):
        """Bytes of its data that lie on its disk, without what is mounted there."""
        device, total = os.stat(self.data).st_dev, 0
        for root, folders, names in os.walk(self.data):
            folders[:] = [name for name in folders if not os.path.ismount(f"{root}/{name}")]
            for name in [*names, *folders]:
                with contextlib.suppress(FileNotFoundError):
                    status = os.lstat(f"{root}/{name}")
                    total += status.st_blocks * 512 if status.st_dev == device else 0
        return total

    def holding(self, *markers):
        """Files among its data with one of these bytes in them."""
        found = []
        for root, _, names in os.walk(self.data):
            for name in names:
                with contextlib.suppress(OSError):
                    status = os.lstat(f"{root}/{name}")
                    if stat.S_ISREG(status.st_mode) and status.st_size > 0:
                        with open(f"{root}/{name}", "rb") as stream, \
                                mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
                            if any(content.find(marker) >= 0 for marker in markers):
                                found.append(f"{root}/{name}".removeprefix(self.data + "/"))
        return sorted(found)


@functools.cache
def shared():
    """One Docker Engine for all tests of a program; its data lie in memory, which is quicker."""
    return Engine(size=2000)


class Podman(Api, Server):
    """Podman's service. Registries of `plain` ("HOST:PORT") are spoken to without TLS."""

    def __init__(self, plain=(), driver="overlay"):
        Server.__init__(self)
        self.socket = f"{self.path}/s"
        with open(f"{self.path}/registries.conf", "w", encoding="ascii") as stream:
            stream.writelines(f'[[registry]]\nlocation = "{name}"\ninsecure = true\n' for name in plain)
        self.run(["podman", "--root", f"{self.path}/data", "--runroot", f"{self.path}/run", "--tmpdir",
                  f"{self.path}/tmp", "--cgroup-manager", "cgroupfs", "--storage-driver", driver, "--log-level", "info",
                  "system", "service", "--time", "0", f"unix://{self.socket}"], self.ping,
                 XDG_RUNTIME_DIR=self.path, CONTAINERS_REGISTRIES_CONF=f"{self.path}/registries.conf")


class Registry(Server):
    """A registry on loopback that wants a user's name and password."""

    def __init__(self, user=USER, password=PASSWORD):
        Server.__init__(self)
        self.user, self.password = user, password
        with open(f"{self.path}/htpasswd", "wb") as stream:
            stream.write(subprocess.run(["htpasswd", "-Bbn", user, password], stdout=subprocess.PIPE, check=True).stdout)
        with open(f"{self.path}/config.yml", "w", encoding="ascii") as stream:
            json.dump({"version": "0.1", "log": {"level": "info"}, "storage": {
                "filesystem": {"rootdirectory": f"{self.path}/data"}, "delete": {"enabled": True}},
                "http": {"addr": "127.0.0.1:0", "secret": "throw-away", "relativeurls": True},
                "auth": {"htpasswd": {"realm": "test", "path": f"{self.path}/htpasswd"}}}, stream)
        found = self.run(["docker-registry", "serve", f"{self.path}/config.yml"],
                         lambda: re.search(r"listening on 127\.0\.0\.1:(\d+)", self.log_text()))
        self.port = int(found.group(1))
        self.name = f"127.0.0.1:{self.port}"

    def digest(self, repository, tag="latest"):
        """The digest of a tag's manifest; None when there is none."""
        import base64

        word = base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        with contextlib.closing(connection):
            connection.request("HEAD", f"/v2/{repository}/manifests/{tag}", headers={
                "Authorization": f"Basic {word}", "Accept": f"{oci.DOCKER_MANIFEST}, {oci.MANIFEST}"})
            reply = connection.getresponse()
            return reply.headers["Docker-Content-Digest"] if reply.status == 200 else None


class LyingDaemon(proxy.Proxy):
    """Stands before an engine (or before none) on a socket of its own; see support.proxy for what rules can do."""

    def __init__(self, engine=None):
        self.engine = engine
        # Within the engine's folder, so that its keeper removes it if nobody else does.
        self.folder = tempfile.mkdtemp(prefix="tt-", dir=engine.path if engine else "/tmp")
        self.socket = f"{self.folder}/s"
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(self.socket)
        super().__init__(listener, (lambda: proxy.to_unix(engine.socket)) if engine else None)

    def env(self):
        configuration = self.engine.env()["DOCKER_CONFIG"] if self.engine else self.folder
        return {"DOCKER_HOST": f"unix://{self.socket}", "DOCKER_CONFIG": configuration}

    def close(self):
        super().close()
        shutil.rmtree(self.folder, True)


class FaultyRegistry(proxy.Proxy):
    """Stands before a registry (or before none) on a port of its own."""

    def __init__(self, registry=None):
        listener = socket.create_server(("127.0.0.1", 0))
        self.port = listener.getsockname()[1]
        self.name = f"127.0.0.1:{self.port}"
        super().__init__(listener, (lambda: proxy.to_port(registry.port)) if registry else None)


def closed_port():
    """HOST:PORT where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"127.0.0.1:{listener.getsockname()[1]}"


if __name__ == "__main__":
    keep(sys.argv[1])

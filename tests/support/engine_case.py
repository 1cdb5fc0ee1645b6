"""A station whose trains are in a container engine: what support.station has, around support.engine."""

import contextlib
import subprocess

from support import engine as engines
from support import oci, pht
from support.station import MARKER, PIN, Case, difference, results_of, sample_at

TRAIN = "pht/train"
# As the image of a real train has it: everything that a new state must keep.
SETTINGS = {"Entrypoint": ["/bin/sh", "/opt/pht_train/entrypoint.sh"], "Cmd": ["one", "two words"],
            "Env": [f"PATH={engines.PATH}", "TRAIN_SETTING=a=b c"], "User": "user", "WorkingDir": "/tmp",
            "Labels": {"maintainer": "somebody", "empty": ""}, "ExposedPorts": {"80/tcp": {}}, "StopSignal": "SIGINT"}


class EngineCase(Case):
    """Each test starts with an empty engine, and must leave no container in it."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.engine = engines.shared()

    def setUp(self):
        super().setUp()
        self.engine.clear()
        self.client = self.engine  # whose env() traintoken gets
        self.mark = self.engine.log_size()

    def tearDown(self):
        super().tearDown()
        if self.engine.process.poll() is None:
            self.assertEqual(list(self.engine.containers()), [], "containers left")

    # ------------------------------------------------------------------------------------------ material

    def train(self, position=0, name=TRAIN, config=None):
        """The sample train with so many stops done, as NAME:base and NAME:latest; gives NAME."""
        return self.train_of(sample_at(position), sample_at(0) if position else None, name, config)

    def train_of(self, opt, base_opt=None, name=TRAIN, config=None):
        self.engine.load_train(name, opt, base_opt, {"config": config or SETTINGS})
        return name

    def run_code(self, name, station, entries=None):
        """In an engine: a container wrote results and was committed under the same name."""
        if isinstance(name, oci.Layout):
            return super().run_code(name, station, entries)
        return self.engine.put(f"{name}:latest", results_of(station) if entries is None else entries)

    def decrypted(self, position=1, station="beta", **more):
        """A train after pre-run and execution at a stop."""
        name = self.train(position, **more)
        self.good("pre-run", name, station=station)
        self.run_code(name, station)
        return name

    # ------------------------------------------------------------------------------------------ the program

    def environment(self, **more):
        return super().environment(**{**self.client.env(), **more})

    def everything(self, *more):
        """The engine too, where it can be asked."""
        found = super().everything(*more)
        with contextlib.suppress(OSError):
            found["the engine"] = self.engine.state()
        return found

    def started(self, *arguments, env=None, **more):
        """Starts traintoken and goes on; the end of the test kills it."""
        child = subprocess.Popen(self.arguments(*arguments, **more), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                 env=self.environment(PRIVATE_KEY_PASSWORD=PIN, **(env or {})), stderr=subprocess.PIPE,
                                 text=True, start_new_session=True)

        def stop():
            child.kill()
            child.communicate()
        self.addCleanup(stop)
        return child

    # ------------------------------------------------------------------------------------------ checks

    def opened(self, name, key, tag="latest"):
        """Checks a train with the independent checker and opens it with a software key."""
        return pht.open_train(self.engine.tree(f"{name}:{tag}"), key)

    def assert_no_plaintext_in_engine(self, *markers):
        """Nowhere on the engine's disk, whatever names it or not."""
        self.assertEqual(self.engine.holding(*(markers or (MARKER,))), [], "plaintext in the engine")

    def assert_all_is_as(self, before):
        self.assertEqual(difference(before, self.everything()), [])

    def counted(self, since=None):
        """How often results went out, files in, and images were made, as the daemon's log has it."""
        since = self.mark if since is None else since
        return {"get": self.engine.count(r"GET /containers/[^/]+/archive\?.*pht_results", since),
                "put": self.engine.count(r"PUT /containers/[^/]+/archive", since),
                "commit": self.engine.count(r"POST /commit", since)}

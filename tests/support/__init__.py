"""What the tests share: an independent implementation of the protocol, OCI layouts, throw-away stations.

Nothing here uses traintoken's own code. Debian's python3 (3.11 or later) with python3-cryptography is all it needs.
"""

import faulthandler
import os
import tempfile

# A test that ctest is about to end (TIMEOUT 600) says first where it hangs.
faulthandler.dump_traceback_later(570)


def _is_roomy(place):
    """Whether programs can be started from there, and some gigabytes fit."""
    try:
        facts = os.statvfs(place)
    except OSError:
        return False
    return not facts.f_flag & os.ST_NOEXEC and facts.f_bavail * facts.f_frsize > 4 << 30


# Everything that matters is synced to disk, and most tests have no use for that: their folders are in memory where
# there is room.
if "TMPDIR" not in os.environ and _is_roomy("/dev/shm"):
    tempfile.tempdir = "/dev/shm"

"""What the tests share: an independent implementation of the protocol, OCI layouts, throw-away stations.

Nothing here uses traintoken's own code. Debian's python3 (3.11 or later) with python3-cryptography is all it needs.
"""

import faulthandler

# A test that ctest is about to end (TIMEOUT 600) says first where it hangs.
faulthandler.dump_traceback_later(570)

"""Runs a program and says its exit status and peak memory in KiB: python3 -m support.peak PROGRAM ARGUMENT...

A process of its own, because a child's peak starts at that of the process that made it.
"""

import os
import sys

if __name__ == "__main__":
    nothing = os.open(os.devnull, os.O_RDWR)
    actions = [(os.POSIX_SPAWN_DUP2, nothing, number) for number in (0, 1, 2)]
    child = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ, file_actions=actions)
    _, status, used = os.wait4(child, 0)
    print(os.waitstatus_to_exitcode(status), used.ru_maxrss)

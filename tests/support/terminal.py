"""A program on a terminal of its own, and somebody who answers its questions."""

import os
import pty
import select


def asks(shown):
    """Whether what came since the last answer ends in a question."""
    return shown.endswith(b": ")


def converse(argv, env, answers, cwd=None, is_question=asks, calm=0.0, patience=60):
    """Runs argv and answers each question, in their order; a question is one that so many seconds (`calm`) nothing
    follows. Gives status, what was shown, and the answers that nobody asked for."""
    child, master = pty.fork()
    if child == 0:
        try:
            os.chdir(cwd or ".")
            os.execve(argv[0], argv, env)
        finally:
            os._exit(127)
    shown, seen, left = b"", 0, list(answers)
    try:
        while True:
            ready, _, _ = select.select([master], [], [], patience)
            try:
                data = os.read(master, 4096) if ready else b""
            except OSError:
                data = b""
            if not data:
                break
            shown += data
            if left and is_question(shown[seen:]) and not (calm and select.select([master], [], [], calm)[0]):
                seen = len(shown)
                os.write(master, left.pop(0).encode())
    finally:
        os.close(master)
        _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status), shown.decode("utf-8", "replace"), left

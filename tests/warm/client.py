"""What is named `python` there: has the server of its folder run a module or code, as a fresh interpreter would.

Imports next to nothing. What is neither `-m` nor `-c` is given to the interpreter itself.
"""

import marshal
import os
import signal
import socket
import sys

FORWARDED = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)


def main() -> int:
    """Exit status of what was run; negative where a signal ended it."""
    if sys.argv[1:2] not in (["-m"], ["-c"]):
        os.execv(sys.executable, [sys.executable, *sys.argv[1:]])  # noqa: S606
    wanted = marshal.dumps((sys.argv[1:], os.getcwd(), dict(os.environ)))  # noqa: PTH109 - a slow import
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(os.path.join(os.path.dirname(__file__), "socket"))  # noqa: PTH118, PTH120 - as above
        for number in FORWARDED:
            signal.signal(number, lambda number, _: server.send(bytes([number])))
        socket.send_fds(server, [len(wanted).to_bytes(4)], [0, 1, 2])
        server.sendall(wanted)
        answer = server.recv(2)
    return int.from_bytes(answer, signed=True) if answer else 1


if __name__ == "__main__":
    status = main()
    if status < 0:
        if -status in FORWARDED:
            signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    sys.exit(status)

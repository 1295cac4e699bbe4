"""Becomes an exec's command: dies with the agent, takes its terminal as the controlling one. `python -I -S enter.py <tty 0|1> argv...`."""

import ctypes
import fcntl
import os
import signal
import sys
import termios


def main() -> None:
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: nobody would see it any more
    if sys.argv[1] == "1":
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    argv = sys.argv[2:]
    try:
        os.execvp(argv[0], argv)  # noqa: S606 - this is what was asked for
    except OSError as error:
        os.write(2, f"{argv[0]}: {os.strerror(error.errno or 0)}\n".encode())
        os._exit(127 if isinstance(error, FileNotFoundError) else 126)


if __name__ == "__main__":
    main()

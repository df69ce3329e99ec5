"""A program between the daemon and a sync's command: it makes sure that the command never outlives the daemon.

    python -I -S supervise.py LIFELINE PROGRAM [ARGUMENT]…

LIFELINE is the number of a descriptor: the reading end of a pipe whose other end only the daemon holds. However the
daemon ends, SIGKILL included, the kernel closes that end; then the command's whole process group is killed. When the
command ends by itself, what it left running in its group is killed too, and its exit code is passed on (a
signal N becomes 128 + N; 127 when it could not be started).

Run by path with nothing but the standard library, so that it starts in milliseconds.
"""

import os
import signal
import sys
import time
from _thread import start_new_thread

__all__ = ["main"]

LINGER_S = 5.0
"""How long a killed command is waited for; one that hangs in the kernel must not hold the daemon up."""
NOT_STARTED = 127
SIGNALLED = 128


def main(arguments: list[str]) -> int:
    """Run the command; returns its exit code."""
    lifeline, argv = int(arguments[0]), arguments[1:]
    os.set_inheritable(lifeline, False)
    os.closerange(3, lifeline)  # whatever else the daemon may have let through
    os.closerange(lifeline + 1, os.sysconf("SC_OPEN_MAX"))
    try:
        command = os.posix_spawnp(argv[0], argv, os.environ, setpgroup=0, setsigdef=[signal.SIGPIPE, signal.SIGXFSZ])
    except OSError as error:
        os.write(2, f"cannot run {argv[0]}: {error.strerror}\n".encode(errors="replace"))
        return NOT_STARTED
    start_new_thread(outlive, (lifeline, command))
    _, status = os.waitpid(command, 0)
    kill_group(command)
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else SIGNALLED - code


def outlive(lifeline: int, command: int) -> None:
    """Wait for the daemon's end, or for its word: both close the pipe. Then end everything, within bounds."""
    while os.read(lifeline, 1):
        pass
    kill_group(command)
    time.sleep(LINGER_S)
    os._exit(SIGNALLED + signal.SIGKILL)


def kill_group(group: int) -> None:
    """End every process of the group, if any is left."""
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        pass
    except PermissionError:  # a member that changed its user; nothing more can be done
        pass


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""A worker of a framework in a process of its own, for as long as it is used."""

import contextlib
import ctypes
import signal
import subprocess
import sys

END_WITHIN_S = 60


def die_with_parent():
    """Runs in the worker: the kernel kills it should this process be killed."""
    PR_SET_PDEATHSIG = 1
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


@contextlib.contextmanager
def running(words, environment=None):
    """Runs Python with these arguments meanwhile."""
    words = [sys.executable, "-B", *words]
    worker = subprocess.Popen(words, env=environment, preexec_fn=die_with_parent)
    try:
        yield
    finally:
        worker.terminate()
        worker.wait(END_WITHIN_S)

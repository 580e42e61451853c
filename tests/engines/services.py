"""What processes of `test_child` serve."""

import ctypes
import os
import signal
import sys
import time

import numpy as np


def echo(receive, send, *given):
    while True:
        send((os.getpid(), given, receive()))


def faulty(receive, send):
    """Does what it is asked."""
    kept = []
    while True:
        what = receive()
        if what == "allocate":
            for _ in range(64):
                kept.append(np.ones(1 << 24, np.uint8))
            send("enough")
        if what == "throw":
            sys.stderr.write("terminate called after throwing an instance of 'std::bad_alloc'\n")
            sys.stderr.flush()
            os.abort()
        if what == "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        if what == "hold the GIL":
            ctypes.PyDLL(None).sleep(60)
        if what == "chatter":
            print("stray", flush=True)
            os.write(1, b"stray")
        if what == "sleep":
            time.sleep(60)
        if what == "watch":  # as where the system does not tell
            from pytest_ensemble.engines import child_main

            ctypes.CDLL(None).prctl(1, 0, 0, 0, 0)
            child_main._watch()
        send("done")


def parent(receive, send, told):
    """Has a child in C that holds the GIL."""
    from pytest_ensemble.engines.child import Child

    child = Child("tests.engines.services:faulty")
    if not told:
        child.ask("watch", None)
    child.send("hold the GIL")
    send(child.pid)
    time.sleep(60)

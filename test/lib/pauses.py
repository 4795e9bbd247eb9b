"""Sees a machine stand still: what a virtual machine's host takes away shows as time between two looks."""
import threading
import time

LOOK_S = 0.05
LONG_S = 1.0  # uses up the shortest deadlines that tests of real servers have


class Pauses:
    """Since the last begin(): the longest pause in seconds, and how many were LONG_S or longer."""

    def __init__(self):
        self.begin()
        threading.Thread(target=self._watch, daemon=True).start()

    def begin(self):
        self.longest, self.long = 0.0, 0

    def _watch(self):
        last = time.clock_gettime(time.CLOCK_BOOTTIME)
        while True:
            time.sleep(LOOK_S)  # ok: the distance of two looks is what is measured
            now = time.clock_gettime(time.CLOCK_BOOTTIME)
            pause = now - last - LOOK_S
            self.longest = max(self.longest, pause)
            self.long += pause >= LONG_S
            last = now

"""Conditions with deadlines: the only way a test waits.

Intervals are of CLOCK_BOOTTIME, the clock of the product's deadlines and of the writer's log.
"""
import time


class Timeout(AssertionError):
    """A condition did not come true in time; the message says which and what was seen last."""


def boot_us():
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000


def boot_s():
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def until(condition, deadline_s, what, every=0.05):
    """Returns the first true value of condition(), asked every `every` seconds.

    A false value or an exception of the world (OSError, ValueError, LookupError, database errors) is
    "not yet"; the last of them is in the message of the Timeout.
    """
    end = time.monotonic() + deadline_s
    last = None
    while True:
        try:
            value = condition()
            if value:
                return value
            last = value
        except AssertionError as e:
            last = e
        except Exception as e:  # "not yet", but never forgotten
            last = f"{type(e).__name__}: {e}"
        if time.monotonic() >= end:
            raise Timeout(f"not within {deadline_s:g} s: {what}; last seen: {last}")
        time.sleep(every)  # ok: between two looks at a condition with a deadline


def holds(condition, for_s, what, every=0.1):
    """Asserts that condition() stays true for the whole of for_s seconds."""
    end = time.monotonic() + for_s
    while time.monotonic() < end:
        assert condition(), f"did not hold: {what}"
        time.sleep(every)  # ok: between two looks at a condition with a deadline

"""The service: sample, analyse, commit, publish, until stopped.

service.py     its life, from configuration to everything off, and the loop
recorder.py    what is committed: intervals with their detections, events
timekeeper.py  wall time: stamps, and what becomes of them when the clock is set
vitals.py      how the box is: trend of the optics, `health`
announce.py    what it says of itself: greeting, info, stats
"""

from device.service.service import Service

__all__ = ["Service"]

"""The service: sample, analyse, commit, publish, until stopped.

service.py              its life, from configuration to everything off, and the loop
state.py                how the box stands: one frozen value for all who look, and the board it hangs on
state_maker.py          makes it, and says of it what is due
look.py                 the newest frame as pictures, while somebody watches
recorder.py             what is committed: intervals with their detections, events
timekeeper.py           wall time: stamps, and what becomes of them when the clock is set
health_monitor.py       how the box is: trend of the optics, `health`
work.py                 what can change while it runs: settings, models
model_keeper.py         models that failed their checks: told, and opened again later
loop_requests.py        what was asked from afar and waits for the loop
request_dispatcher.py   requests: judged, logged, done once, answered
request_handlers.py     what each of them does
support.py              the support bundle
patience.py             what the start waits for rather than end
interruptible_sleep.py  how the loop sleeps, and what cuts that short
heartbeat.py            READY, WATCHDOG and STATUS for a service manager, while every stage moves
watched.py              camera and analysis that say what they are at
update_requests.py      the command `update`, in a thread of its own
update_confirmer.py     a release on trial: what shows that it works
output_status.py        what became of the lines it said
dashboard.py            the dashboard: what it is given, and that its trouble is nobody else's
announce.py             what it says of itself: greeting, info, stats
"""

from device.service.service import Service

__all__ = ["Service"]

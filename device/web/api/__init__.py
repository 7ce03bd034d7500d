"""The box's routes: each handler gets an `HttpRequest` and returns a value.

box.py           what the routes know of the box, as the service gives it
table.py         all of them in one list
sign_in.py       session, set-up, sessions that are open
now.py           state, last look, the stream of both
history.py       what was counted, for minutes to a season
trend.py         the optics from day to day
review.py        crops kept for a person: seen, labelled
commands.py      what MQTT may ask, through the same dispatcher and audit log
instrument.py    models, settings, calibration records
records.py       audit log, last lines
exports.py       exports, each in a process of its own
export_child.py  that process
metrics.py       how it stands, for Prometheus
meanings.py      what every field, unit and event means
"""

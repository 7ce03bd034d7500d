"""The dashboard on the box: a server in a thread of its own, which reads what the loop shows and asks what MQTT may ask.

security   who may: passwords, sessions, one-time codes, Host and Origin, rates, TLS of the box's own; knows nothing of a box
serving    how: connections with bounds, answers, pages as files, event streams; knows nothing of a box
api        what: the box's routes
pages      the pages, as files
"""

"""How pages and answers are served, whatever they tell. Nothing here knows of a box: what serves several boxes uses the same.

server.py          a thread with its own loop, and its socket
governor.py        how much of a core it may take
connection.py      one connection with bounds in time and memory, and how many there are
routes.py          what a route is: method, path, who may, what it does
access_control.py  what every request passes: rate, Host, TLS, session, Origin, CSRF, size; the headers of every answer
answers.py         values as JSON, files, one shape of error
assets.py          the pages as files, cached by their content
event_stream.py    server-sent events: newest wins, however slow somebody reads
"""

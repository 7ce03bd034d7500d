"""Who may see and who may ask. Nothing here knows of a box: what serves several boxes uses the same.

passwords.py        how passwords are kept and compared
access_store.py     passwords, sessions and one-time codes, in a file of their own
requester.py        who asks, by address, Host and Origin; reverse proxies
rate_limits.py      how often, by address and in all
own_certificate.py  key and certificate made on the box, for TLS beyond loopback
"""

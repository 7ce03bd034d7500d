"""From the outbox to the broker.

topics    where everything goes
payloads  status, info, health
commands  what is asked of the box: read, bounded, refused or ignored
requests  paho's side of it: subscription, MQTT 5 properties
contract  every topic in one table, and as AsyncAPI
link      rows out, a collector's word in: connection (the client, kept up) and sender (which row goes next)
guarded   paho's client, safe from what strangers write into properties
address   the broker's address, and what the device shows it
certificates  what the device shows a broker and trusts; der: a name and two dates of a certificate
probe     one publish that is acknowledged
homeassistant  device discovery
broker    the service's own broker on loopback, where none is configured; broker_keeper starts it again
embedded  a pure-Python broker for demonstrations, in a process of its own
"""

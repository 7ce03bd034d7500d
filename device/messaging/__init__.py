"""From the outbox to the broker.

topics    where everything goes
payloads  status, info, health
request_messages  what is asked of the box: read, bounded, refused or ignored
requests  paho's side of it: subscription, MQTT 5 properties
contract  every topic in one table, and as AsyncAPI
link      rows out, a collector's word in: connection (the client, kept up), sender (which row goes next), confirmations (what a
          collector's word settles), statements (what is said beside the records)
limits    what a broker says that it takes; shortening: what a message is cut down to for it
reasons   why a broker ends or refuses something; backoff: when to call again
report    how the link is            details   what lies within payloads whose parts are made elsewhere
client    a client set up            guarded   paho's own, safe from what strangers write into properties
address   the broker's address, and what the device shows it
certificates  what the device shows a broker and trusts; der: a name and two dates of a certificate
probe     one publish that is acknowledged
homeassistant  device discovery
broker    the service's own broker on loopback, where none is configured; broker_keeper starts it again
embedded  a pure-Python broker for demonstrations, in a process of its own
"""

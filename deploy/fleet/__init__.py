"""Where the records of many boxes come together: from the broker into PostgreSQL, each exactly once.

cli         the `holonode-fleet` command
collector   the MQTT side: acknowledged only after the commit
line        how a broker is called
intake      one message to one row, or to the reason why not
store       rows into PostgreSQL; how far a spool is whole; what PostgreSQL refuses
rows        records as the columns of a statement
clashes     keys that come again: duplicates, corrected stamps, two contents
rejections  messages that are no records, within a quota
notes       what a collector says of them, without a flood of lines
schema      migrations/*.sql, applied in order
backfill    columns of records that were written before there were any
comments    what their columns mean, in the database itself
database    connections, and what their errors mean
alarms      what is wrong with a box, told once: by e-mail, webhook, MQTT
dashboard   all boxes, their alarms, and each box's pages from far away
prune       what is no longer kept: whole months
enrolment   certificates for boxes: codes, renewals, revocations
status      devices, last records, gaps, what was wrong
"""

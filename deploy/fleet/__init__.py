"""Where the records of many boxes come together: from the broker into PostgreSQL, each exactly once.

cli        the `holonode-fleet` command
intake     one message to one row, or to the reason why not
store      rows into PostgreSQL; how far a spool is whole
collector  the MQTT side: acknowledged only after the commit
schema     migrations/*.sql, applied in order
database   connections, and what their errors mean
status     devices, last records, gaps
"""

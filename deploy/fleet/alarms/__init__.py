"""Who is told what is wrong with a box: once, and again when it is over.

settings    the TOML file: rules, and who is told
conditions  what stands now, by the rules
book        alarms begun, raised, cleared; acknowledged, silenced
channels    e-mail, webhook, MQTT
watcher     what boxes say of themselves; the rounds of all this
"""

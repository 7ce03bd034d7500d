"""Whether this box can do its work, and for how long.

checks        what is present, missing, wrong, and the command that mends it; installed: rights, store, controller, boot
readiness     can this box do what its configuration says, asked before anything is touched; demands: what that takes one by one
preflight     everything before a box is left alone: readiness, ranges (configuration against instrument), light (lamp and camera),
              pumping, surroundings, clock, endurance (disk, lamp, window, calibration)
readiness     whether the configuration can be carried out, for doctor, dry run, arm and run alike; demands: one by one
parts         what of the box is real
armed         that somebody did so: kept in the store, told as an event
optics        today's view against the commissioning record
watchdog      how long each stage of the service may take; the service manager's watchdog by that
trend         the optics from interval to interval against their baseline; drifts
"""

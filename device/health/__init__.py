"""Whether this box can do its work, and for how long.

checks        what is present, missing, wrong, and the command that mends it; installed: rights, store, controller, boot;
              release_files: whether they are as they were laid out
readiness     can this box do what its configuration says, asked before anything is touched; demands: what that takes one by one
preflight     everything before a box is left alone: readiness, ranges (configuration against instrument), light (lamp and camera),
              pumping, surroundings, clock, endurance (disk, lamp, window, calibration)
board_power   under-voltage, throttling, temperature of the board
parts         what of the box is real
delivery      whether records reach whom they are for; trust: whether a collector's word can be taken for one
stored        what became of the store
armed         that somebody did so: kept in the store, told as an event
optics        today's view against the commissioning record
watchdog      how long each stage of the service may take; the service manager's watchdog by that
trend         the optics from interval to interval against their baseline; drifts
"""

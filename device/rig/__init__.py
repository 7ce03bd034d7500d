"""The composition root: a configuration in, the parts of a box, its models and its way of sampling out.

rig        what a rig is: parts and clock; which driver each part has: `device.parts`
build      the parts as configured, lamp and pump off
real       cameras, controller, clock of a real box; never loads the twin
simulated  the twin's parts and its world
models     the bundles of a box, and the pipeline that they make
modes      the way of sampling that is configured
ready      whether the box can do what it is configured for
records    the calibration records that hold for an instrument
"""

"""The workshop that measures instruments; imports device/, never models/.

cli           `holonode-calibrate`: one guided command per procedure, a record at its end
frames        frames to measure: live, recorded, or of the twin with the target put in place
targets       what stands in front of the simulated sensor
procedures    dark, flat, beads (distance, tilt, pitch), ruling (pitch), flow, counts: pure functions on frames
instruments   reference instrument files
"""

"""The workshop that measures instruments; imports device/, never models/.

cli           `holonode-calibrate`: one guided command per procedure, a record at its end
frames        frames to measure: live, recorded, or of the twin with the target put in place
assays        assays of known doses, carried out
targets       what stands in front of the simulated sensor
procedures    dark, flat, beads (distance, tilt, pitch), ruling (pitch), flow, counts, dose: pure functions on frames and figures
instruments   reference instrument files
"""

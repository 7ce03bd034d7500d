"""The workshop that measures instruments; imports device/, never models/.

cli           `holonode-calibrate`: one guided command per procedure, a record at its end
frames        frames to measure: live or recorded
measuring     from frames to a procedure's outcome, as its options say
assays        assays of known doses, carried out
targets       what stands in front of the simulated sensor; staging: the target of each procedure, and what is true of it
rehearsal     the answer sheet of a calibration on the twin
procedures    dark, flat, beads (distance, tilt, pitch), ruling (pitch), flow, counts, dose: pure functions on frames and figures
instruments   reference instrument files
"""

"""One measurement each: frames and what is known of the target in, figures with uncertainty, residuals and verdict out.

outcome      what every procedure returns
comparison   what was measured against what the instrument file says
dark         pedestal, read noise, hot pixels
flat         lamp level, evenness, electrons per count, saturation: the commissioning baseline
beads        spheres of known size: their places in three dimensions; distance, tilt, pitch
ruling       pitch from a ruled target
flow         volume flow from what moved between two frames
counts       detection efficiency from a suspension of known concentration
dose         response of the biosensor to known doses
transfer     distance and pseudo-truth from plain frames: what a model is adapted with
aberrations  the pupil's phase from the same frames
"""

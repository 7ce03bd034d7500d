"""A hologram's phase in one pass, without back-propagation, for one instrument: the fastest look there is.

recipe   the network and what its card says
scenes   what it learns from: HIDEF's scenes narrowed to the instrument
scoring  what scores it: the multislice model, and the distance drifting
"""

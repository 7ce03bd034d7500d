"""Virtual colour: phase and absorption at three wavelengths as the colours that two dyes would give. Research: simulated, and it says
how sure it is.

recipe   what it is and its loss      chemistry  the dyes, what is hidden, and what can be known
scenes   what it learns from          scoring    what scores it
"""

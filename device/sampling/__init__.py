"""How and when a sample is taken.

impactor   air onto a sticky window: a frame before, a volume of air, a frame after (impactor_mode analyses, window keeps
           what lies there)
flow       bursts of frames of liquid in a channel (flow_mode counts every particle once in the volume that it swept)
assay      a chamber of beads that clump: empty, filled, looked at over time (assay_mode keeps what a running one has seen,
           and tells the dose at its end)
schedule   intervals, cron expressions, sun times; wakes waits for them
steps      moves that are allowed, and everything off
findings   what an interval came to, whichever mode took it
"""

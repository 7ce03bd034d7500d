"""How and when a sample is taken. Each way of sampling is a folder with a descriptor, `kind.py`; adding one touches nothing else.

kinds      what a way of sampling says of itself, and which there are; tables: what the configuration holds of each
impactor/  air onto a sticky window           flow/  bursts of frames of liquid in a channel
assay/     a chamber of beads that clump
schedule   intervals, cron expressions, sun times; wakes waits for them; sun tells sunrise and sunset
steps      moves that are allowed, and everything off
lit_frame  a frame under an acknowledged lamp
holograms  frames to holograms: divided by a background, or the difference of two
findings   what an interval came to, whichever mode took it
"""

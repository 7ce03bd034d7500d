"""Bursts of frames of liquid in a channel; every particle is counted once in the volume that it swept.

kind      what this way of sampling is
settings  [sampling.flow]
burst     takes one
mode      counts
"""

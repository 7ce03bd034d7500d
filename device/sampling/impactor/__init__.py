"""Air onto a sticky window: a frame before, a volume of air, a frame after.

kind     what this way of sampling is
sampler  takes a sample
mode     analyses what changed
window   what lies there
"""

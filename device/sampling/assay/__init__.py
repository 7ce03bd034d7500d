"""A chamber of beads that clump: empty, filled, looked at over time.

kind      what this way of sampling is
settings  [sampling.assay]
chamber   fills it and looks
mode      keeps what a running assay has seen, and tells the dose at its end
"""

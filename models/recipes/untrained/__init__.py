"""Nothing to train: a deep prior fitted to one hologram, in the workshop for its table.

recipe   what it is
scoring  scenes of another forward model and recordings with measured fields, beside back-propagation and sparse retrieval
"""

"""What must not be lost.

outbox  records wait here, in order, until the far end has them
"""

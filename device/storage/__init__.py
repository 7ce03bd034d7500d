"""What is kept on the box.

outbox  records wait here, in order, until the far end has them
review  crops for a person to look at, within a budget
"""

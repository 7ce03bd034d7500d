"""What is kept on the box.

outbox      records wait here, in order, until the far end has them
database    its connection, its settings, its log after a failed sync
migrations  its tables, step by step
room        what goes first on a short disk
gap         what could not be kept, counted until it is told
backdate    stamps corrected once the clock is set
review      crops for a person to look at, within a budget
exports/    data out
audit       what was asked of this box
reading     a store looked at from outside            arrays  arrays that survive power loss
"""

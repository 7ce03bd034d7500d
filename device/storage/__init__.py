"""What is kept on the box.

outbox      records wait here, in order, until the far end has them
rows        what it hands out, and its figures
flight      what is out and waits to be confirmed
room        what goes first on a short disk
gap         what could not be kept, counted until it is told
backdate    stamps corrected once the clock is set

opening     a store opened: whole, and known for what it is, or else under a new spool
spools      which record of the store is which number of which spool
identity    whether it is a copy
highwater   how far it had got, by a file beside it
database    its connection, its settings, its log after a failed sync
migrations  its tables, step by step

sound       what is damaged while it is used is salvaged on the way
sums        checksums of what it holds
rot         rotten records set apart
salvage     a sound store made of a damaged one
survey      what its pages hold
trees       whether what is written into next is sound
pages       rows read from a damaged SQLite file
damaged     damaged files, kept for a person

history     what the box has seen, for years: a file of its own, for pages to read

review      crops for a person to look at, within a budget
crop_pictures  crops as pictures
audit       what was asked of this box
reading     a store looked at from outside            arrays  arrays that survive power loss
"""

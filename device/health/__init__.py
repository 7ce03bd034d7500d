"""Whether this box can do its work.

checks  what is present, missing, wrong, and the command that mends it
"""

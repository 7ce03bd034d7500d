"""The workshop that measures instruments: imports device/, never the other way round.

instruments/  reference instrument files
"""

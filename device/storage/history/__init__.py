"""What the box has seen, for years: a file of its own beside the outbox, for pages to read while the sampler writes.

values     what it answers
tables     its file: tables, connection, levels of its sums
entries    records as rows
writer     records in, sums by ten minutes, hour and day, what goes when there is too much
estimates  concentrations and their intervals from sums
reader     questions, each thread with a connection of its own
series     counts and concentrations over time
gaps       times of which there is no interval
particles  the particles' few columns
keeper     keeps it up with the outbox: the thread that writes, and what is done about a file that is damaged or gone
"""

from device.storage.history.keeper import HistoryKeeper
from device.storage.history.reader import HistoryReader

__all__ = ["HistoryKeeper", "HistoryReader"]

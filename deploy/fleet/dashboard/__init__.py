"""The boxes' pages from far away: the same pages as on a box, on what the fleet's database holds.

pool       connections for the threads that serve
boxes      all boxes, worst first; one as it said last that it is
history    intervals, sums, events and particles of one box
trend      its optics from day to day
endpoints  the routes: boxes, alarms, each box's own below /boxes/<device>
app        what is served, and where
"""

"""Everything that runs on the box.

errors       the one error root and its subclasses by remedy
frames       Exposure, LampState, RawFrame, Hologram
records      Particle, Detection, Interval, Event: what leaves the box
instrument   what this instrument is: sensor, lamp, geometry, fluidics
config       the TOML configuration
cli, app     the `holonode` command and the one composition root
optics/ twin/ drivers/ inference/ analysis/ sampling/ storage/ messaging/
"""

__version__ = "0.1.0"

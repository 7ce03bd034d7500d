"""Everything that runs on the box.

errors       the one error root and its subclasses by remedy
edge         where a program ends: an error is one line and an exit status
console      stdout and stderr of a service, which goes on without them
stopping     SIGINT and SIGTERM as a request        processes  known by more than their number
allocator    what is free goes back to the system
text         texts from outside, cleaned for terminal, table and page          arguments  bounded numbers on a command line
frames       Exposure, LampState, RawFrame, Hologram
records      Particle, Detection, Interval, Event: what leaves the box          records_1  the same as they were in version 1
events       every event by code: how grave, what it means, what to do          meaning    what every field means, and its unit
instrument   what this instrument is: sensor, lamp, geometry, fluidics
config       the TOML configuration; settings: what of it may be changed from afar
clock        wall time and its quality
parts        what a box is made of: all simulated, or real with every part named
calibration  the sealed records that hold for an instrument    transfer   an instrument's own frames, on their way to models
duct_flow    how liquid streams in a channel                   plan       what a configuration is going to do
paths        where the paths of a configuration lead
tomlfile     strict TOML files with errors that name the line                  strict_json  JSON that every reader takes
library_output  what C libraries write to standard error, gathered
output       where results go, looked at before the work is done              installation  the command that adds a part, with its lock
identifiers  ULIDs that can be made again
schemas      JSON Schemas of all of these
optics/      physics on arrays          twin/       the simulated instrument
drivers/     what acts on the world     inference/  running the networks that ship
analysis/    hologram to counts         sampling/   how a sample is taken
recordings/  foreign files read right   exports/    data out of the store
storage/     the outbox                 messaging/  MQTT
health/      checks                     subcommands/  one file per subcommand
updates/     signed releases and models, on trial          identity/  the box's key and certificate
releases/    one tree on a box for installation, image, package and update
rig/         the one composition root: configuration in; parts, models and way of sampling out
service      sample, analyse, commit, publish (`holonode run`)          web/  the dashboard
replay       the same analysis over recorded frames
cli          the `holonode` command
"""

__version__ = "0.1.0"

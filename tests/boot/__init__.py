"""The image, booted: real kernel, systemd, service and file system in an emulated machine.

disks       files into and out of an image; what a disk holds after its supply was cut
machine     the emulated machine: start, read its console, cut its supply
boots       `make test-boot`: unit READY, first interval, three cuts, nothing lost, publishing again
power       `make test-power`: many cuts into PostgreSQL through the real collector; sittings add up
updates     `make test-updates`: releases updated and rolled back under a real systemd
materials   what is on an image against its bill of materials
starts      first boots where something is missing or wrong
container   a box as a container: the same systemd, this machine's speed
other_release  a bundle as another version, that works or doesn't
where_possible  `make test-boot`, or why it can't be tried here
producer    what the light machine of `power` runs: the service's outbox and link without its sampler
"""

"""Installing on clean systems: `make test-install` (as root).

__main__   every claim on each system, in order
roots      clean Debian systems to change the root to
"""

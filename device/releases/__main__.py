"""`python -m device.releases`."""

import sys

from device.releases.cli import main

sys.exit(main())

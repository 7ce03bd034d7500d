"""`python -m device` is `holonode`."""

import sys

from device.cli import main

sys.exit(main())

"""`python -m deploy.signing`."""

import sys

from deploy.signing.command import main

sys.exit(main())

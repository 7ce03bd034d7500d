"""`python -m deploy.security`."""

from deploy.security.traceability import main

main()

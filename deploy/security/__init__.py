"""What standards of the security of devices ask, and the test that shows it; `python -m deploy.security` renders the table.

traceability  requirements.toml read, and made into requirements.md
"""

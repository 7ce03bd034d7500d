"""Updates of releases and models: signed by the owner (TUF), staged, tested, on trial until the service has shown that it works.

offers        what a signed list offers, and which is the newest
sources       a folder (a stick, what the service fetched) or a web server; nothing of it is trusted
downloads     one file within its length and in time, gone on with after a break
trust         the TUF client: what this box trusts, and what it verified
floor         the newest time it was ever told
ask           the service's side: look, fetch, install models, ask root for a release
notice        what was offered when it looked last, for `health`
confirmation  what the service has to see before it says that it works
apply         root's side: verify again, stage, test, swap, roll back
trials        a release on trial, and how updates came out: the files between both
control       the service stopped and started, a release tested
kept_store    the store as it was, where a release changes its tables
files         whole after a power cut; plain, where somebody else put them

Two parties, two trusts: the service fetches and verifies in its own folder, and root reads that folder as it would read a
stick. A service that was taken over can't have root run what the owner didn't sign.
"""

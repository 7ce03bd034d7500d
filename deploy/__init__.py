"""How it gets onto boxes, and how many boxes are run.

fleet/     collectors into PostgreSQL
bundle.py  a release in one archive    deb.py  the same as a Debian package
sbom.py  what it is made of    advisories.py  what of it is known to be weak
security/  what standards ask, and the test that shows it
image/     an arm64 image that boots into a sampler
signing/   the owner's side of updates: keys and the signed list
grafana/   dashboards over it
vendor.py  the libraries of the dashboard's pages
"""

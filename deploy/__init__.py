"""How it gets onto boxes, and how many boxes are run.

fleet/     collectors into PostgreSQL
bundle.py  a release in one archive    sbom.py  what it is made of
image/     an arm64 image that boots into a sampler
signing/   the owner's side of updates: keys and the signed list
grafana/   dashboards over it
vendor.py  the libraries of the dashboard's pages
"""

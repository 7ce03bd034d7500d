"""How it gets onto boxes, and how many boxes are run.

fleet/     collectors into PostgreSQL
bundle.py  a release in one archive
vendor.py  the libraries of the dashboard's pages
"""

"""How it gets onto boxes, and how many boxes are run.

fleet/     collectors into PostgreSQL
grafana/   dashboards over it
vendor.py  the libraries of the dashboard's pages
"""

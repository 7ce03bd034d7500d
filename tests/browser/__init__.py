"""The dashboard's pages in a real browser, on a real box: `make test-web`."""

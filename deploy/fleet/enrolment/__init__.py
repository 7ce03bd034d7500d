"""Certificates for boxes: one-time codes, requests signed, renewals, revocations. It holds the authority's key: not on the broker.

signer    the authority: what it signs, and the list of what it revoked
register  codes and certificates, written down
rules     who gets a certificate
server    rules over HTTPS
command   `holonode-fleet enrol`
"""

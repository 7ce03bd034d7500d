"""The owner's side of updates: keys, and a TUF repository that boxes read from a stick or a web server.

command     `python -m deploy.signing`
keys        made and kept encrypted; all but the timestamp's belong off-line
signed_list the repository: root, targets, snapshot, timestamp; files added, keys rotated
described   what an archive is, as the signed list says it
"""

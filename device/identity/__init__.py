"""Who this box is to its fleet: a key made here that never leaves, and the certificate that the fleet's authority gave it.

own_key    the key, the request for a certificate, and both in one file
enrolment  the way to the certificate: once by a one-time code, from then on by the certificate itself
"""

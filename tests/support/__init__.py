"""What the tests share: an independent implementation of the protocol, OCI layouts, throw-away stations.

Nothing here uses traintoken's own code. Debian's python3 (3.11 or later) with python3-cryptography is all it needs.
"""

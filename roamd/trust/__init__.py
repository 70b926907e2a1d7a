"""Who is who: keys, certificates, TLS contexts, signatures, descriptors and pairing.

No I/O but the identity's own two files.
"""

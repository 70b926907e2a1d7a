"""What roaming companies talk about: identifiers, bodies, OCPI objects, credentials, rights. Pure values, no I/O."""

"""What the roaming business is made of: identifiers, objects, records, agreements; pure values without I/O."""

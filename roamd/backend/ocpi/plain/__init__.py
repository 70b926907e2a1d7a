"""The face turned outward: partners that speak plain OCPI and do not run roamd."""

"""Partners that do not run roamd and speak plain OCPI: no link, no key, no ledger of both sides."""

"""The services: who may charge, what is published, which records are owed. No sockets and no HTTP here."""

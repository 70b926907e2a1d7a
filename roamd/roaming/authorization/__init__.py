"""May this credential charge here? `visited` asks for the CSO, `home` answers for the CSP."""

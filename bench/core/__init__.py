"""Shared foundations: configuration, seeding, errors, name lookup, paths, the command line."""

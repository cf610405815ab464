"""Moves what is stored out of a data directory and back in: backup and restore."""

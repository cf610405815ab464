"""The ``orrery`` command. Importing it is quick: each command's module loads when it runs."""

"""The two sides of ``orrery.api``: a database in this process, or one behind HTTP."""

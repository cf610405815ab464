"""The words of the design (DESIGN section 1) and the seams between parts; no I/O."""

"""What `./test` does: chooses what to run, keeps order around pytest, and says what came out.

It knows nothing of the product. Only the standard library is imported, so that a mistake in the
arguments is told at once.
"""

"""What runs in Nova's own environment, which has nothing of the lab's but the standard library.

Of the lab's other modules only those may be imported here that are content with that.
"""

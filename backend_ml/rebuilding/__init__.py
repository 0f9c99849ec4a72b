"""Labels frozen as data, and any head that ever served made again from them, in a clean clone, bit for bit."""

"""Files in the order in which the disk lists them."""

import os


def facts():
    return "".join(f"{name}\n" for name in os.listdir("shop/pages"))

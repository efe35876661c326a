"""A shop with some pages."""


def main():
    print("open")

"""The items of a set in the order of their hashes."""


def facts():
    return f"formats = { {'json', 'xml', 'csv', 'yaml', 'toml', 'html', 'text'} }\n"

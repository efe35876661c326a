"""A number and a day as the machine's language writes them."""

import locale
import time


def facts():
    locale.setlocale(locale.LC_ALL, "")
    price = locale.format_string("%.2f", 1234.5, grouping=True)
    return f"price {price}\nday {time.strftime('%A %d %B', time.gmtime(0))}\n"

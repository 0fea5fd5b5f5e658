"""Reports: what runs and sweeps came to, as one HTML page that needs nothing but a browser.

`contents` collects what a page shows as plain data, `page` makes HTML of it, `report` writes the file.
"""

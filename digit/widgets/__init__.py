"""Widgets for JupyterLab: data browser, photo editor and failure browser.

Chapters 01, 02 and 08 of the notebooks show them. Python filters, predicts and paints;
the JavaScript in `web/` draws and sends back what is clicked.
"""

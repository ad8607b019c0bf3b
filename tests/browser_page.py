"""What the failure browser answers to its page, without a page."""

import json


def ask(browser, request: str, **content) -> dict[str, dict]:
    """The answers to a request of the page, the last of each kind."""
    messages = []

    def hear(content, buffers=()):
        json.dumps(content, allow_nan=False)  # as the page gets it
        messages.append({**content, "buffers": buffers})

    browser.send = hear
    browser._receive(browser, {"do": request, **content}, [])
    return {message["kind"]: message for message in messages}

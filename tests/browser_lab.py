"""Steps in the failure browser of chapter 08, opened in JupyterLab (see `lab`)."""

from lab import Lab

DRAWN = ".digit[data-drawn]"
FRAMES = 48  # of the small training split


def run(lab: Lab) -> None:
    lab.run_all()
    lab.page.locator(".digit").scroll_into_view_if_needed()
    lab.page.wait_for_selector(DRAWN)


def clear(lab: Lab) -> None:
    press(lab, "clear")
    until(lab, f"d.dataset.shown == {FRAMES} && d.dataset.row")


def press(lab: Lab, name: str) -> None:
    """Click a button of the browser."""
    browser = lab.page.locator(".digit")
    browser.get_by_role("button", name=name, exact=True).click()


def number(lab: Lab, name: str) -> int:
    """A number that the browser keeps in its data attributes; -1 for none."""
    return int(lab.page.locator(".digit").get_attribute(f"data-{name}") or -1)


def until(lab: Lab, condition: str) -> None:
    """Wait until a condition on the widget's element `d` holds."""
    lab.page.wait_for_function(
        f"() => {{ const d = document.querySelector('.digit'); return {condition} }}"
    )


def type_filter(lab: Lab, condition: str) -> None:
    lab.page.locator(".digit-query").fill(condition)
    lab.page.keyboard.press("Enter")

"""Two hundred things that a restless user does to a widget, for the browser tests."""

from lab import Lab

# Keys, clicks, choices and typed words, chosen by a generator with a fixed seed.
ACT = """async ({root, keys, clickable, texts, count}) => {
    const d = document.querySelector(root);
    let seed = 7;
    const random = n => { seed = (seed * 16807) % 2147483647; return seed % n; };
    const pick = list => list[random(list.length)];
    const all = selector => [...d.querySelectorAll(selector)].filter(e => e.offsetParent);
    const press = () => {
        const inside = d.contains(document.activeElement);
        const target = inside ? document.activeElement : d;
        target.dispatchEvent(new KeyboardEvent('keydown', {key: pick(keys), bubbles: true}));
    };
    const click = () => {
        const button = pick(all(clickable));
        button.focus();
        button.click();
    };
    const choose = () => {
        const select = pick(all('select:not(:disabled)'));
        if (!select?.options.length) return;
        select.selectedIndex = random(select.options.length);
        select.dispatchEvent(new Event('change', {bubbles: true}));
    };
    const type = () => {
        const field = pick(all('input[type=text]'));
        if (!field || !texts.length) return;
        field.value = pick(texts);
        field.dispatchEvent(new Event('input', {bubbles: true}));
        field.dispatchEvent(new Event('change', {bubbles: true}));
    };
    for (let i = 0; i < count; i++) {
        pick([press, press, click, choose, ...(texts.length ? [type] : [])])();
        await new Promise(done => setTimeout(done, 20));
    }
}"""


def act_at_random(
    lab: Lab,
    root: str,
    keys: list[str],
    clickable: str = "button, input[type=checkbox]",
    texts: tuple[str, ...] = (),
    count: int = 200,
) -> None:
    """Do random things to a widget; fails at an error of page, cells or kernel.

    Args:
        lab: With the notebook open.
        root: Selector of the widget's element.
        keys: Keys to press.
        clickable: Selector of what is clicked, inside the widget.
        texts: Words to type into text fields.
        count: Number of actions.
    """
    log = lab.folder / "jupyterlab.log"
    before = log.stat().st_size
    given = {"root": root, "keys": keys, "clickable": clickable, "texts": texts}
    lab.page.evaluate(ACT, {**given, "count": count})
    lab.wait_idle(900)
    assert lab.errors() == []
    logged = log.read_bytes()[before:].decode()
    assert "Traceback" not in logged, logged[-3000:]

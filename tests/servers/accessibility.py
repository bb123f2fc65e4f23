"""Whether everybody can use a page, as far as a program can tell: axe-core looks at it in the browser."""

from __future__ import annotations

from collections.abc import Sequence

from selenium import webdriver

from tests.servers.executables import axe_script

RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
"""What is asked for: WCAG at the levels A and AA, and what is good practice beyond."""

COLOURS = ["color-contrast", "link-in-text-block"]
"""The rules that go by how a page is coloured: all that can be otherwise about the same page at night."""

SPACE = ["target-size", "scrollable-region-focusable"]
"""The rules that go by how much space there is: all that can be otherwise about the same page on a phone."""

_RUN = """
const [type, values, done] = arguments;
axe.run(document, {runOnly: {type, values}, resultTypes: ["violations"], preload: false}).then(
  (found) => done(found.violations.flatMap((rule) => rule.nodes.map(
    (node) => `${rule.id}: ${rule.help}: ${node.html.slice(0, 300)}: ${node.failureSummary}`
  ))),
  (error) => done([String(error)])
);
"""


def violations(window: webdriver.Remote, rules: Sequence[str] = ()) -> list[str]:
    """Return what keeps somebody from using the page that a browser shows.

    :param window: the browser.
    :param rules: the only ones that are asked for; none for all.
    :returns: a line each: the rule, the element, what is wrong with it.
    :raises ServerMissing: when axe-core was not fetched.
    """
    window.set_script_timeout(120)
    if not window.execute_script("return typeof axe === 'object'"):
        window.execute_script(axe_script().read_text(encoding="utf-8"))
    asked = ("rule", list(rules)) if rules else ("tag", RULES)
    return [str(each) for each in window.execute_async_script(_RUN, *asked)]
